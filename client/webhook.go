package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// webhookTolerance bounds the age of a webhook, and its lead over the receiver's clock.
const webhookTolerance = 5 * time.Minute

// ErrWebhook is wrapped by every error of VerifyWebhook: answer the request with 401.
var ErrWebhook = errors.New("the webhook is not genuine")

// VerifyWebhook returns nil when a request came from whoever has the secret ("whsec_…"),
// and not more than five minutes from now, as Standard Webhooks say
// (https://www.standardwebhooks.com). body is the request's, byte for byte. While a
// secret is rotated both the old and the new one verify.
func VerifyWebhook(secret string, header http.Header, body []byte, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 || !strings.HasPrefix(secret, "whsec_") {
		return errors.New("verify webhook: the secret is not one that begins with whsec_")
	}
	id, stamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	if id == "" || stamp == "" {
		return fmt.Errorf("verify webhook: %w: webhook-id or webhook-timestamp is missing", ErrWebhook)
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("verify webhook: %w: webhook-timestamp is not a number", ErrWebhook)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > webhookTolerance || age < -webhookTolerance {
		return fmt.Errorf("verify webhook: %w: it was sent %v ago", ErrWebhook, age.Round(time.Second))
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	want := mac.Sum(nil)
	for signature := range strings.FieldsSeq(header.Get("Webhook-Signature")) {
		encoded, known := strings.CutPrefix(signature, "v1,")
		if got, err := base64.StdEncoding.DecodeString(encoded); known && err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("verify webhook: %w: no signature matches", ErrWebhook)
}

package client

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

// The example of https://github.com/standard-webhooks/standard-webhooks.
func TestVerifyWebhook(t *testing.T) {
	const (
		secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
		body   = `{"test": 2432232314}`
		good   = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	)
	sent := time.Unix(1614265330, 0)
	for _, tt := range []struct {
		name, secret, id, stamp, signature, body string
		now                                      time.Time
		ok                                       bool
	}{
		{"good", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", good, body, sent, true},
		{
			"of two", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,AAAA v2,x " + good, body,
			sent.Add(time.Minute), true,
		},
		{"another body", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", good, body + " ", sent, false},
		{"another id", secret, "msg_p5jXN8AQM9LWM0D4loKWxJel", "1614265330", good, body, sent, false},
		{"another time", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265331", good, body, sent, false},
		{"another secret", "whsec_AAAA", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", good, body, sent, false},
		{"another version", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v2" + good[2:], body, sent, false},
		{"old", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", good, body, sent.Add(6 * time.Minute), false},
		{
			"of the future", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", good, body, sent.Add(-6 * time.Minute),
			false,
		},
		{"no signature", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "", body, sent, false},
		{"no id", secret, "", "1614265330", good, body, sent, false},
		{"no number", secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "now", good, body, sent, false},
	} {
		header := http.Header{}
		header.Set("webhook-id", tt.id)
		header.Set("webhook-timestamp", tt.stamp)
		header.Set("webhook-signature", tt.signature)
		err := VerifyWebhook(tt.secret, header, []byte(tt.body), tt.now)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrWebhook) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := VerifyWebhook("secret", http.Header{}, nil, sent); err == nil || errors.Is(err, ErrWebhook) {
		t.Errorf("a secret of another kind: %v", err)
	}
}

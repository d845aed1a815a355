package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// TokenReason says why a token is asked for.
type TokenReason string

// The reasons.
const (
	Connecting   TokenReason = "connect"   // the first connection
	Reconnecting TokenReason = "reconnect" // another connection
	Refreshing   TokenReason = "refresh"   // the present one ends soon
	Refused      TokenReason = "refused"   // the server did not take the last one
)

const (
	renewPause = 5 * time.Second // after Options.Token failed
	renewLeast = time.Second     // between two tokens
)

// credential returns what a connection authenticates with.
func (c *Client) credential(ctx context.Context, reason TokenReason) (string, error) {
	if c.options.Token == nil {
		return c.options.APIKey, nil
	}
	token, err := c.options.Token(ctx, reason)
	if err == nil && token == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("get token: %w", err)
	}
	return token, nil
}

// renew sends a fresh token over a connection before each one ends, until ctx does.
func (c *Client) renew(ctx context.Context, conn *conn, token string) {
	for {
		wait, ends := untilRenewal(token, time.Now())
		if !ends || !pause(ctx, wait) {
			return
		}
		for {
			fresh, err := c.credential(ctx, Refreshing)
			if err == nil {
				token = fresh
				break
			}
			c.log.Warn("no fresh token", "err", err)
			if !pause(ctx, renewPause) {
				return
			}
		}
		conn.send(encodeAuth(token, "", time.Now()))
	}
}

// untilRenewal returns how long it is until 80% of a token's life is over. A text that is
// no JSON Web Token, or one without an end, never has to be renewed.
func untilRenewal(token string, now time.Time) (wait time.Duration, ends bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0, false
	}
	var claims struct {
		From float64 `json:"iat"`
		To   float64 `json:"exp"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims.To == 0 {
		return 0, false
	}
	end := time.UnixMilli(int64(claims.To * 1000))
	begin := now
	if claims.From > 0 {
		begin = time.UnixMilli(int64(claims.From * 1000))
	}
	return max(begin.Add(end.Sub(begin)*4/5).Sub(now), renewLeast), true
}

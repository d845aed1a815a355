package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/internal/testtoken"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// However many clients behind one address fail with what was good once, each is told
// why: one that is only turned away tries again for ever.
func TestHonestFailuresAreTold(t *testing.T) {
	const clients = 60 // more than the burst of guesses
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		signer := h.broker.addKey(testProject, fsm.ServerKey)
		fromEnded := make([]string, clients)
		for i := range fromEnded {
			fromEnded[i] = h.token(signer, time.Hour, fmt.Sprintf(`,"n":%d%s`, i, everywhere))
		}
		h.broker.endKey(signer)
		revoked := h.broker.addKey(testProject, fsm.PublicKey)
		h.broker.endKey(revoked)
		for _, c := range []struct {
			name, origin string
			text         func(i int) string
			code         refusal.Code
			status       int
		}{
			{"expired tokens", testOrigin, func(i int) string {
				return h.token(h.secret, -time.Hour, fmt.Sprintf(`,"n":%d%s`, i, everywhere))
			}, refusal.TokenExpired, 401},
			{"tokens of tomorrow", testOrigin, func(i int) string {
				return h.token(h.secret, 48*time.Hour,
					fmt.Sprintf(`,"nbf":%d%s`, time.UnixMilli(h.broker.Stamp()).Add(24*time.Hour).Unix()+int64(i), everywhere))
			}, refusal.TokenInvalid, 401},
			{"tokens of a revoked key", testOrigin, func(i int) string { return fromEnded[i] }, refusal.TokenInvalid, 401},
			{"a revoked key", testOrigin, func(int) string { return revoked }, refusal.InvalidKey, 401},
			{
				"a page that is not allowed", "https://elsewhere.example", func(int) string { return h.public },
				refusal.OriginNotAllowed, 403,
			},
		} {
			for i := range clients {
				socket := h.dial("Origin: " + c.origin + "\r\n")
				socket.text(`{"type":"auth","apiKey":%q}`, c.text(i))
				if f := socket.next(); f.Type != "error" || f.Code != c.code {
					t.Fatalf("%s: client %d gets %s", c.name, i, f)
				}
				res, body := h.do("GET", "/realtime/history?channel=c", "", "X-Api-Key", c.text(i), "Origin", c.origin)
				if res.StatusCode != c.status || body["code"] != string(c.code) {
					t.Fatalf("%s: over HTTP client %d gets %d %v", c.name, i, res.StatusCode, body)
				}
			}
		}

		// A bad signature is a guess, also where the token says that it has expired.
		key, _ := h.broker.Key(h.secret)
		limited := 0
		for i := range clients {
			c := h.dial("")
			claims := h.broker.claimsOf(key.ID, -time.Hour, fmt.Sprintf(`,"n":%d%s`, i, everywhere))
			c.text(`{"type":"auth","apiKey":%q}`, testtoken.Mint(testtoken.Header, claims, []byte("a guess at the secret")))
			if f := c.next(); f.close == closeTryLater {
				limited++
			} else if f.Code != refusal.TokenInvalid {
				t.Fatalf("a guess gets %s", f)
			}
		}
		if limited == 0 {
			t.Errorf("%d guesses at a signature are all answered", clients)
		}
	})
}

// A script that goes on with an admin token that was revoked is told so, and leaves the
// operators behind the same address alone.
func TestRevokedAdminTokenIsOneGuess(t *testing.T) {
	h := newHarness(t, "portable")
	try := func(token string) int {
		res, _ := h.do("GET", "/admin/v1/projects", "", "Authorization", "Bearer "+token)
		return res.StatusCode
	}
	for i := range 3 * admin.GuessBurst {
		if got := try("a revoked token"); got != 401 {
			t.Fatalf("call %d with a revoked token: %d", i, got)
		}
	}
	if got := try(adminToken); got != 200 {
		t.Errorf("a good token from the same address: %d", got)
	}
	for i := range admin.GuessBurst {
		try(fmt.Sprint("guess ", i))
	}
	if got := try(adminToken); got != 429 {
		t.Errorf("after %d guesses the next is answered: %d", admin.GuessBurst, got)
	}
	if got := try("a revoked token"); got != 401 {
		t.Errorf("then a revoked token: %d", got)
	}
}

package gateway

import (
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/gateway/internal/testtoken"
)

// claimsOf are claims of a token that ends after a while.
func (b *fakeBroker) claimsOf(kid string, ends time.Duration, more string) string {
	return fmt.Sprintf(`{"kid":%q,"sub":"user-17","exp":%d%s}`, kid, time.UnixMilli(b.Stamp()).Add(ends).Unix(), more)
}

// token mints a token under a server key of the harness; more are claims, each
// with a comma before it.
func (h *harness) token(key string, ends time.Duration, more string) string {
	h.t.Helper()
	k, _ := h.broker.Key(key)
	secret, found := h.broker.SigningSecret(k.ID)
	if !found {
		h.t.Fatalf("key %q signs nothing", k.ID)
	}
	return testtoken.Mint(testtoken.Header, h.broker.claimsOf(k.ID, ends, more), secret)
}

const someChannels = `,"channels":{"chat:*":["subscribe","publish"],"news":["subscribe"],"log":["history"]}`

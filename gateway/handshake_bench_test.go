package gateway

import (
	"crypto/tls"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/poll"
)

// BenchmarkTLSHandshake measures what a new connection costs over TLS, the client's half
// included.
func BenchmarkTLSHandshake(b *testing.B) {
	h := newTLSHarness(b, poll.Default)
	again := unverified()
	again.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for name, config := range map[string]*tls.Config{"full": unverified(), "resumed": again} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c := h.dialTLS(config)
				c.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				c.wantStatus(200)
				_ = c.socket.Close()
			}
		})
	}
}

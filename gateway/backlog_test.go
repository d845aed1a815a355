package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// blockedConnections counts the connections whose socket is full.
func (h *harness) blockedConnections() (n int) {
	h.server.ask(func(l *loop) func() {
		mine := 0
		for _, c := range l.conns {
			if c.out.blocked {
				mine++
			}
		}
		return func() { n += mine }
	})
	return n
}

// A client that must not be shown anything more, and whose socket is full, is
// reset rather than waited for.
func TestBacklogOfTheExpelledIsReset(t *testing.T) {
	for name, expel := range map[string]func(h *harness){
		"revoked": func(h *harness) { h.broker.endKey(h.public) },
		"stale":   func(h *harness) { h.broker.set(func() { h.broker.staleness = CloseAfter + time.Second }) },
		"epoch":   func(h *harness) { h.broker.set(func() { h.broker.epoch = "another" }); h.server.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			onEachPoller(t, func(t *testing.T, poller string) {
				h := newHarness(t, poller, func(c *Config) {
					c.SendBufferBytes, c.CloseGrace, c.StallTimeout = 8<<10, time.Hour, time.Hour
				})
				c := h.open(h.public)
				if err := c.socket.(*net.TCPConn).SetReadBuffer(8 << 10); err != nil {
					t.Fatal(err)
				}
				message := `"` + strings.Repeat("x", 60<<10) + `"`
				h.broker.append(h.channel("c"), slices.Repeat([]string{message}, 100)...)
				c.text(`{"type":"subscribe","channel":"c"}`)
				looks := 0 // in a row at which the socket was full
				eventually(t, func() string {
					if looks++; h.blockedConnections() != 1 {
						looks = 0
					}
					if looks < 200 {
						return "the socket takes everything"
					}
					return ""
				})
				expel(h)
				eventually(t, func() string {
					if n := h.server.ConnectionCount(); n != 0 {
						return fmt.Sprintf("%d connections", n)
					}
					return ""
				})
				if _, err := io.Copy(io.Discard, c.in); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the client sees %v", err)
				}
			})
		})
	}
}

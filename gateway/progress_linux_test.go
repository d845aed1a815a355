package gateway

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A client that takes a little at a time stays, though its socket has no room for
// much longer than one that takes nothing may.
func TestCrawlingSocketStays(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		const stall = time.Second
		h := newHarness(t, poller, func(c *Config) { c.StallTimeout, c.CloseGrace = stall, 50*time.Millisecond })
		h.dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var refused error
			err := raw.Control(func(fd uintptr) {
				refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10)
			})
			return errors.Join(err, refused)
		}
		c := h.open(h.public)
		c.subscribe("c", "")
		payload := `"` + strings.Repeat("x", 60<<10) + `"`
		for range 20 {
			h.broker.append(h.channel("c"), payload)
		}
		piece := make([]byte, 2<<10)
		for begun := time.Now(); time.Since(begun) < 4*stall; time.Sleep(stall / 4) {
			if _, err := io.ReadFull(c.socket, piece); err != nil {
				t.Fatalf("after %v: %v", time.Since(begun), err)
			}
		}
		if n := h.server.ConnectionCount(); n != 1 {
			t.Errorf("%d connections are left, want 1", n)
		}
		if n := h.metric("aptlyd_closes_total", "4008"); n != 0 {
			t.Errorf("%v connections were closed as slow", n)
		}
	})
}

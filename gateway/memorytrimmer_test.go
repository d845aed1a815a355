package gateway

import (
	"fmt"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/poll"
)

func TestMemoryIsTrimmedOnceManyHaveLeft(t *testing.T) {
	var c memoryTrimmer
	for i, step := range []struct {
		now  int
		left bool
	}{
		{0, false}, {500, false}, {0, false}, {0, false}, // few
		{5000, false}, {15000, false}, {9000, false}, {9000, false}, // not a half
		{4000, false}, {1000, false}, {1000, true}, // they are leaving, and then have left
		{1000, false}, {0, false}, {0, true}, {0, false},
	} {
		if got := c.due(step.now); got != step.left {
			t.Errorf("step %d, %d clients: %v", i, step.now, got)
		}
	}
}

// The room that many clients took is given back, and those who stayed notice
// nothing.
func TestTrimAfterManyHaveLeft(t *testing.T) {
	for _, name := range poll.Names() {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, name)
			const stay = 3
			var clients []*client
			for i := range 60 {
				c := h.open(h.public)
				c.subscribe(fmt.Sprint("c", i%stay), "")
				clients = append(clients, c)
			}
			for _, c := range clients[stay:] {
				_ = c.socket.Close()
			}
			eventually(t, func() string {
				if n := h.server.ConnectionCount(); n != stay {
					return fmt.Sprintf("%d connections", n)
				}
				return ""
			})
			h.server.trim()
			h.server.ask(func(l *loop) func() {
				conns, room, dirty := len(l.conns), cap(l.conns), cap(l.dirty)
				return func() {
					if room > stay+1 || dirty > stay+1 {
						t.Errorf("room for %d connections and %d dirty ones, with %d", room, dirty, conns)
					}
				}
			})
			for i, c := range clients[:stay] {
				channel := fmt.Sprint("c", i)
				h.fill(channel, 1)
				c.wantMessages(channel, 1, 1, false)
			}
			late := h.open(h.public)
			late.subscribe("c0", "")
			late.wantMessages("c0", 1, 1, true)
		})
	}
}

package gateway

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/poll"
)

// holdings counts all that a server may hold for clients.
type holdings struct {
	descriptors, goroutines         int
	connections, channels, interest int
	handshakes, pendingConns        int
	scheduled, cached, underway     int
}

func (h *harness) holdings() (sum holdings) {
	h.t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		h.t.Fatal(err)
	}
	sum.descriptors, sum.goroutines = len(open), runtime.NumGoroutine()
	h.server.ask(func(l *loop) func() {
		mine := holdings{connections: len(l.conns), channels: len(l.channels)}
		mine.cached = len(l.pageCache.pages)
		for _, slot := range l.wheel.slots {
			for _, c := range slot {
				if c != nil {
					mine.scheduled++
				}
			}
		}
		for _, t := range l.channels {
			mine.underway += len(t.underway)
		}
		mine.handshakes = l.handshakes.Len()
		return func() {
			sum.connections += mine.connections
			sum.channels += mine.channels
			sum.scheduled += mine.scheduled
			sum.cached += mine.cached
			sum.underway += mine.underway
			sum.handshakes += mine.handshakes
		}
	})
	sum.interest = len(h.server.interest.list())
	sum.pendingConns = int(h.server.pendingConns.Load())
	return sum
}

// Clients come and go in every way there is, and nothing of them stays.
// Descriptors and goroutines are the process's, so this test must run alone.
func TestNothingStaysOfClients(t *testing.T) {
	for _, name := range poll.Names() {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, name)
			before := h.holdings()
			for round := range 20 {
				var clients []*client
				for i := range 20 {
					c := h.open(h.public)
					c.subscribe(fmt.Sprint("c", i%5), "")
					clients = append(clients, c)
				}
				half := h.connect()
				half.send("GET /realtime HTTP/1.1\r\nHost: ")
				silent := h.connect()
				plain := h.connect()
				plain.send("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
				if res, err := http.ReadResponse(plain.in, nil); err != nil || res.StatusCode != 200 {
					t.Fatalf("readyz: %v, %v", res, err)
				}
				refused := h.connect()
				refused.send("nonsense\r\n\r\n")
				if res, err := http.ReadResponse(refused.in, nil); err != nil || res.StatusCode != 400 {
					t.Fatalf("nonsense: %v, %v", res, err)
				}
				if round%2 == 0 {
					h.server.onLoops(func(l *loop) { l.closeAll(closeTryLater, "test") })
				}
				for _, c := range append(clients, half, silent, plain, refused) {
					_ = c.socket.Close()
				}
			}
			eventually(t, func() string {
				now := h.holdings()
				// Tests before this one may have been about to end theirs.
				now.descriptors = max(now.descriptors, before.descriptors)
				now.goroutines = max(now.goroutines, before.goroutines)
				if now != before {
					return fmt.Sprintf("before: %+v, now: %+v", before, now)
				}
				return ""
			})
		})
	}
}

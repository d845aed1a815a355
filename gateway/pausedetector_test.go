package gateway

import (
	"net/http"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// stop makes it look as if the process had been stopped for a while until now,
// and waits until that has been noticed.
func (h *harness) stop() {
	h.t.Helper()
	h.server.pauses.lastTurn.Add(-int64(2 * pauseAfter))
	eventually(h.t, func() string {
		if h.server.pauses.wokeAt.Load() == 0 {
			return "the pause goes unnoticed"
		}
		return ""
	})
}

// A node that was stopped neither delivers nor takes anything before it has
// heard from its cluster.
func TestPausedNodeWaitsForProof(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		ended, stays := h.open(h.secret), h.open(h.public)
		ended.subscribe("c", "")
		stays.subscribe("c", "")
		h.broker.set(func() { h.broker.staleness = RefuseAfter - time.Second }) // older than the pause
		h.stop()
		ended.text(`{"type":"publish","channel":"c","message":"of a key that has ended"}`)
		h.fill("c", 1)
		if h.server.available() == nil {
			t.Error("the node would let clients in")
		}
		h.broker.endKey(h.secret)
		h.broker.set(func() { h.broker.staleness = 0 })
		ended.wantError(refusal.KeyRevoked)
		ended.wantClose(1000)
		stays.wantMessages("c", 1, 1, false)
		h.fill("c", 1)
		stays.wantMessages("c", 2, 2, false)
		if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != http.StatusOK {
			t.Errorf("readyz is %d", res.StatusCode)
		}
	})
}

func TestStalledNodeIsNotReady(t *testing.T) {
	h := newHarness(t, "portable")
	h.broker.set(func() { h.broker.stalled = "write the state has not finished for 3s" })
	if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a stalled node is %d", res.StatusCode)
	}
	h.broker.set(func() { h.broker.stalled = "" })
	if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != http.StatusOK {
		t.Errorf("/readyz of a node that gets on again is %d", res.StatusCode)
	}
}

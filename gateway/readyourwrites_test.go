package gateway

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Who was told that a message is there finds it: reads wait until this node has
// applied what it has acknowledged.
func TestReadsWaitForWhatWasAcknowledged(t *testing.T) {
	h := newHarness(t, poll.Default)
	h.broker.set(func() {
		h.broker.readYourWrites = func(context.Context) error {
			h.broker.append(h.channel("c"), `{"n":0}`)
			return nil
		}
	})
	res, body := h.do(http.MethodGet, "/realtime/history?channel=c", "", "X-Api-Key", h.secret)
	if res.StatusCode != http.StatusOK || body["offset"] != 1.0 {
		t.Errorf("history says %v, %v", res.StatusCode, body["offset"])
	}
	c := h.open(h.public)
	if f := c.subscribe("c", `,"from":"live"`); f.offset() != 2 {
		t.Errorf("got %s", f)
	}
}

func TestReadsAreRefusedWithoutWhatWasAcknowledged(t *testing.T) {
	h := newHarness(t, poll.Default)
	h.broker.set(func() {
		h.broker.readYourWrites = func(context.Context) error {
			return &refusal.Error{Code: refusal.Unavailable, Reason: "the cluster cannot answer right now"}
		}
	})
	if res, _ := h.do(http.MethodGet, "/realtime/history?channel=c", "", "X-Api-Key",
		h.secret); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("history says %v", res.StatusCode)
	}
	c := h.open(h.public)
	c.text(`{"type":"subscribe","channel":"c"}`)
	c.wantError(refusal.Unavailable)
	h.broker.set(func() {
		h.broker.readYourWrites = func(context.Context) error { return errors.New("a mistake") }
	})
	c.text(`{"type":"subscribe","channel":"c"}`)
	c.wantError(refusal.Internal)
}

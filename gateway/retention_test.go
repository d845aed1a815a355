package gateway

import (
	"testing"

	"github.com/aptlyd/aptlyd/gateway/poll"
)

// What "subscribed" says is retained comes, or a gap says that it will not, also to
// those who never had an offset.
func TestRetentionOvertakesASubscribe(t *testing.T) {
	for _, test := range []struct{ name, from string }{
		{"all", `,"from":"all"`},
		{"the rule's initial", ``},
		{"the last ones", `,"from":{"last":7}`},
		{"since a time", `,"from":{"time":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, poll.Default)
			h.fill("c", 10)
			h.broker.trim(h.channel("c"), 4)
			h.broker.set(func() {
				h.broker.channelHook = func() { h.broker.trim(h.channel("c"), 6) }
			})
			c := h.open(h.public)
			if f := c.subscribe("c", test.from); f.Earliest != 4 || f.offset() != 10 {
				t.Fatalf("got %s", f)
			}
			if f := c.want("gap"); f.From != 4 || f.To != 5 || *f.Channel != "c" {
				t.Errorf("got %s", f)
			}
			c.wantMessages("c", 6, 10, true)
			h.fill("c", 1)
			c.wantMessages("c", 11, 11, false)
		})
	}
}

// A channel that is asked for a second time, further back, is no exception.
func TestRetentionOvertakesABackfill(t *testing.T) {
	h := newHarness(t, poll.Default)
	h.fill("c", 10)
	c := h.open(h.public)
	c.subscribe("c", `,"from":{"last":2}`)
	c.wantMessages("c", 9, 10, true)
	h.broker.set(func() {
		h.broker.channelHook = func() { h.broker.trim(h.channel("c"), 3) }
	})
	if f := c.subscribe("c", `,"from":"all"`); f.Earliest != 1 {
		t.Fatalf("got %s", f)
	}
	if f := c.want("gap"); f.From != 1 || f.To != 2 {
		t.Errorf("got %s", f)
	}
	c.wantMessages("c", 3, 8, true)
}

package gateway

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// gate lets nobody through before it is opened, and counts those who come.
type gate struct {
	come   atomic.Int32
	opened chan struct{}
	once   sync.Once
}

func newGate(t testing.TB) *gate {
	g := &gate{opened: make(chan struct{})}
	t.Cleanup(g.open)
	return g
}

func (g *gate) pass() {
	g.come.Add(1)
	<-g.opened
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// holdReads has reads of the log wait at a gate.
func (h *harness) holdReads() *gate {
	g := newGate(h.t)
	h.broker.set(func() {
		h.broker.readHook = func(fsm.ChannelKey) error {
			g.pass()
			return nil
		}
	})
	return g
}

// Clients that missed the same messages cost one read for each loop, those that
// come while it is under way and those that come a little later alike.
func TestWhatManyMissedIsReadOnce(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		const clients, messages, loops = 12, 100, 2
		h.fill("c", messages)
		reads := h.holdReads()
		var all []*client
		for i := range clients {
			c := h.open(h.public)
			// The last one has some of them.
			c.subscribe("c", fmt.Sprintf(`,"fromOffset":%d`, i/(clients-1)*40))
			all = append(all, c)
			if i == clients-3 {
				reads.open()
				for _, c := range all {
					c.wantMessages("c", 1, messages, true)
				}
			}
		}
		all[clients-2].wantMessages("c", 1, messages, true)
		all[clients-1].wantMessages("c", 41, messages, true)
		if n := reads.come.Load(); n > loops {
			t.Errorf("%d reads for %d clients", n, clients)
		}
		h.fill("c", 1)
		for _, c := range all {
			c.wantMessages("c", messages+1, messages+1, false)
		}
	})
}

// What was asked of a state that has been replaced since says nothing of the
// new one: neither a page that was being read nor the bounds of a channel.
func TestResetWhileAsking(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		for _, asked := range []struct {
			what string
			hold func(h *harness) *gate
			from uint64 // the client has everything before
		}{
			{"page", (*harness).holdReads, 1},
			{"bounds", func(h *harness) *gate {
				g := newGate(h.t)
				h.broker.set(func() { h.broker.channelHook = g.pass })
				return g
			}, 3},
		} {
			h := newHarness(t, poller)
			h.fill("c", 2)
			answers := asked.hold(h)
			c := h.open(h.public)
			c.text(`{"type":"subscribe","channel":"c","fromOffset":%d}`, asked.from-1)
			eventually(t, func() string {
				if answers.come.Load() == 0 {
					return "nothing is asked"
				}
				return ""
			})
			h.broker.set(func() {
				for i := range 3 { // as a snapshot brings them: nobody is told
					h.broker.put(h.channel("c"), "", fmt.Appendf(nil, "%d", i))
				}
			})
			h.server.Reset()
			h.server.Subscribers(testProject) // answered after the reset
			answers.open()
			c.want("subscribed")
			for offset := asked.from; offset <= 5; offset++ {
				if f := c.want("message"); f.offset() != offset {
					t.Fatalf("%s: got %s, want offset %d", asked.what, f, offset)
				}
			}
		}
	})
}

func TestPageIsCutToWhatIsWanted(t *testing.T) {
	messages := make([]fsm.Message, 10)
	for i := range messages {
		messages[i] = fsm.Message{Offset: uint64(11 + i), Data: []byte("1")}
	}
	p := &page{first: 11, frames: encodeMessages("c", "", messages, true, protocol.AsFrames), replayed: true}
	for _, c := range []struct {
		from, last, first, after uint64
	}{
		{11, strictjson.MaxWhole, 11, 21},
		{1, strictjson.MaxWhole, 11, 21}, // what is before it is a gap
		{15, 17, 15, 18},
		{20, 20, 20, 21},
		{21, strictjson.MaxWhole, 0, 0},
		{1, 10, 0, 0}, // messages of it is a gap
	} {
		d, some := p.delivery(want{from: c.from, last: c.last})
		if d.first != c.first || d.after != c.after || some != (c.after > 0) {
			t.Errorf("from %d to %d: got %d to %d", c.from, c.last, d.first, d.after)
			continue
		}
		if !some {
			continue
		}
		expected := encodeMessages("c", "", messages[c.first-11:c.after-11], true, protocol.AsFrames)
		if string(d.bytes()) != string(expected.bytes) {
			t.Errorf("from %d to %d: got %s", c.from, c.last, d.bytes())
		}
		if d.skip+int(d.after-d.first) != len(d.frames.ends) {
			t.Errorf("from %d to %d: %d frames, %d skipped", c.from, c.last, len(d.frames.ends), d.skip)
		}
	}
	if p.holds(want{from: 15, last: 17}) || p.holds(want{from: 21, last: 30, replayed: true}) ||
		!p.holds(want{from: 20, replayed: true}) {
		t.Error("a page holds what it has not, or has not what it holds")
	}
}

func TestPageCacheIsBounded(t *testing.T) {
	s, first, second := &pageCache{}, &localChannel{}, &localChannel{}
	big := frameRun{make([]byte, pageCacheBytes/3), []int{pageCacheBytes / 3}}
	for i := range 4 {
		s.put(&page{channel: []*localChannel{first, second}[i%2], first: uint64(i), frames: big}, 0)
	}
	if len(s.pages) != 3 || len(first.pages) != 1 || first.pages[0].first != 2 || s.bytes > pageCacheBytes {
		t.Errorf("%d pages of %d bytes are kept", len(s.pages), s.bytes)
	}
	if second.cached(want{from: 3}) == nil || second.cached(want{from: 2}) != nil {
		t.Error("the wrong page is found")
	}
	s.expire(pageCacheTime - 1)
	if len(s.pages) != 3 {
		t.Error("pages are gone too early")
	}
	s.expire(pageCacheTime)
	if len(s.pages) != 0 || s.bytes != 0 || first.pages != nil || second.pages != nil {
		t.Errorf("%d pages are kept for ever", len(s.pages))
	}
}

package gateway

import (
	"fmt"
	"testing"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/fsm"
)

func TestCommitsOfOneKindAreJoined(t *testing.T) {
	logged := func(offsets ...uint64) commit {
		c := commit{}
		for _, offset := range offsets {
			c.messages = append(c.messages, fsm.Message{Offset: offset})
		}
		return c
	}
	shared := logged(1, 2, 3)
	shared.messages = shared.messages[:2] // another loop has the third
	for _, next := range []commit{logged(4), {messages: logged(3).messages, transient: true}} {
		if shared.absorb(&next) {
			t.Errorf("%+v is joined to offsets 1 and 2", next)
		}
	}
	for offset := uint64(3); offset < 6; offset++ {
		if next := logged(offset); !shared.absorb(&next) {
			t.Errorf("offset %d is not joined to those before it", offset)
		}
	}
	for i, m := range shared.messages {
		if m.Offset != uint64(i+1) {
			t.Errorf("message %d has offset %d", i, m.Offset)
		}
	}
	original := logged(1, 2, 3)
	view := commit{messages: original.messages[:2]}
	view.absorb(&commit{messages: []fsm.Message{{Offset: 3, Data: []byte("mine")}}})
	if original.messages[2].Data != nil {
		t.Error("what another loop has was written over")
	}
	first, second := commit{messages: logged(0).messages, transient: true}, commit{
		messages:  logged(0).messages,
		transient: true,
	}
	if !first.absorb(&second) || len(first.messages) != 2 {
		t.Errorf("messages without offset make %+v", first)
	}
}

// What a client publishes at once goes to the Broker at once and comes to each
// subscriber in order, whichever loop it is on.
func TestPublishesOfOneTurnGoTogether(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.change(func(p *fsm.Project) { p.Rules = []fsm.Rule{{Pattern: "memory:*", Durability: fsm.DurabilityMemory}} })
		publisher := h.open(h.secret)
		const subscribers, messages = 4, 40 // the subscribers are on both loops
		var listening []*client
		for range subscribers {
			c := h.open(h.secret)
			c.subscribe("memory:c", "")
			c.subscribe("logged", "")
			listening = append(listening, c)
		}
		h.broker.set(func() { h.broker.batches = nil })
		var frames string
		for i := range messages {
			for _, channel := range []string{"logged", "memory:c"} {
				frames += string(clientFrame(ws.OpText, true,
					fmt.Appendf(nil, `{"type":"publish","channel":%q,"message":%d}`, channel, i)))
			}
		}
		publisher.send(frames)
		for _, c := range listening {
			next := map[string]int{}
			for range 2 * messages {
				f := c.want("message")
				if string(f.Data) != fmt.Sprint(next[*f.Channel]) {
					t.Fatalf("got %s, want message %d of its channel", f, next[*f.Channel])
				}
				next[*f.Channel]++
			}
		}
		h.broker.set(func() {
			// The portable poller reads four kilobytes at a time, and in a turn that took long
			// only so many frames are looked at.
			if n := len(h.broker.batches); n > 1+len(frames)/(4<<10)+2*messages/framesPerTurn {
				t.Errorf("%d messages were published in %d batches: %v", 2*messages, n, h.broker.batches)
			}
		})
	})
}

package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func TestWheel(t *testing.T) {
	w := &wheel{step: 10 * time.Millisecond}
	conns := make([]*conn, 4)
	for i := range conns {
		conns[i] = &conn{id: uint64(i)}
	}
	var told []string
	now := time.Duration(0)
	due := func(c *conn) { told = append(told, fmt.Sprintf("%d@%d", c.id, now/time.Millisecond)) }
	w.schedule(conns[0], 25*time.Millisecond)
	w.schedule(conns[1], 100*time.Millisecond)
	w.schedule(conns[1], 50*time.Millisecond) // brought forward
	w.schedule(conns[2], 50*time.Millisecond)
	w.schedule(conns[2], 200*time.Millisecond) // later is not taken
	w.schedule(conns[3], time.Hour)            // further than a turn: told once a turn
	for ; now <= 5200*time.Millisecond; now += 10 * time.Millisecond {
		w.advance(now, due)
	}
	if got, want := strings.Join(told, " "), "0@30 1@50 2@50 3@5110"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	h := newHarness(t, "portable")
	for want, change := range map[string]func(*Config){
		"Listener":          func(c *Config) { c.Listener = nil },
		"Broker":            func(c *Config) { c.Broker = nil },
		"Logger":            func(c *Config) { c.Logger = nil },
		"poller":            func(c *Config) { c.Poller = "kqueue" },
		"Loops":             func(c *Config) { c.Loops = 65 },
		"Workers":           func(c *Config) { c.Workers = -1 },
		"max-message-bytes": func(c *Config) { c.MaxMessageBytes = 2 << 20 },
		"max-json-depth":    func(c *Config) { c.MaxDepth = 1000 },
		"max-channels":      func(c *Config) { c.MaxChannels = -1 },
		"heartbeat":         func(c *Config) { c.Heartbeat = -1 },
		"silence-timeout":   func(c *Config) { c.SilenceTimeout = time.Second },
	} {
		cfg := h.server.cfg
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := DefaultLimits().Validate(); err != nil {
		t.Error(err)
	}
}

// A loop that is too far behind is told how far channels reach, and keeps the
// messages it has room for.
func TestMailboxBound(t *testing.T) {
	m := newMailbox(100 + 2*(commitOverhead+messageOverhead))
	key := fsm.ChannelKey{Project: "p", Name: "c"}
	commitOf := func(offset uint64, size int) commit {
		return commit{channel: key, messages: []fsm.Message{{Offset: offset, Data: make([]byte, size)}}}
	}
	if dropped := m.postCommits([]commit{
		commitOf(1, 60), commitOf(2, 60), commitOf(3, 30),
		{channel: key, transient: true, messages: []fsm.Message{{Data: make([]byte, 60)}}},
	}); dropped != 2 {
		t.Errorf("%d commits were dropped", dropped)
	}
	commits, raised, more := m.takeCommits(nil, 10)
	if len(commits) != 1 || raised != nil || !more {
		t.Errorf("got %d commits, %v, %v", len(commits), raised, more)
	}
	commits, raised, more = m.takeCommits(nil, 1000)
	if len(commits) != 1 || commits[0].messages[0].Offset != 3 || raised[key] != 2 || more || m.bytes != 0 {
		t.Errorf("got %v, %v, %v, %d bytes left", commits, raised, more, m.bytes)
	}
}

// What commits take besides their payloads counts, too.
func TestMailboxBoundsSmallMessages(t *testing.T) {
	m := newMailbox(10 << 10)
	one := commit{transient: true, messages: []fsm.Message{{Data: []byte("1")}}}
	if dropped := m.postCommits(slices.Repeat([]commit{one}, 1000)); dropped < 900 {
		t.Errorf("only %d of 1000 commits were dropped", dropped)
	}
	if _, _, more := m.takeCommits(nil, 1000); more || m.bytes != 0 {
		t.Errorf("%d bytes are left", m.bytes)
	}
}

// A gap and the page behind it that were both not written are wanted again in
// their order.
func TestRewindKeepsOrder(t *testing.T) {
	h := newHarness(t, poll.Default)
	h.server.ask(func(l *loop) func() {
		c := &conn{loop: l, who: auth.Unauthenticated}
		sub := &subscription{conn: c, channel: &localChannel{loop: l}, queued: true, backfill: []span{{12, 30}}}
		run := frameRun{bytes: []byte("ab"), ends: []int{1, 2}}
		c.out.runs = []delivery{
			{sub: &subscription{conn: c}, frames: run},
			{sub: sub, frames: frameRun{[]byte("g"), []int{1}}, first: 5, after: 10, backfill: true},
			{sub: sub, frames: run, first: 10, after: 12, backfill: true},
		}
		c.account(c.joined(), 1)
		return func() {
			if !slices.Equal(sub.backfill, []span{{5, 30}}) {
				t.Errorf("wanted again: %v", sub.backfill)
			}
		}
	})
}

// A close code that a client makes up has no series of its own.
func TestCloseCodesOfClientsAreOneSeries(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		for code := range 5 {
			c := h.open(h.public)
			closing := ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(3000+code), ""))
			if _, err := c.socket.Write(ws.MustCompileFrame(ws.MaskFrame(closing))); err != nil {
				t.Fatal(err)
			}
			c.wantClose(closeCode(3000 + code))
		}
		eventually(t, func() string {
			if n := h.metric("aptlyd_closes_total", "other"); n != 5 {
				return fmt.Sprintf("%v closes are counted as others", n)
			}
			return ""
		})
	})
}

// A client that was refused for good is not told to come back when the node drains
// or is cut off meanwhile.
func TestRefusedForGoodStaysRefused(t *testing.T) {
	for name, leave := range map[string]func(h *harness){
		"drain": func(h *harness) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := h.server.Drain(ctx); err != nil {
				t.Error(err)
			}
		},
		"stale": func(h *harness) { h.broker.set(func() { h.broker.staleness = CloseAfter + time.Second }) },
	} {
		t.Run(name, func(t *testing.T) {
			onEachPoller(t, func(t *testing.T, poller string) {
				h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 500 * time.Millisecond })
				c := h.dial("")
				c.text(`{"type":"auth","apiKey":"pk_mistyped"}`)
				c.wantError(refusal.InvalidKey)
				var leaving sync.WaitGroup
				leaving.Go(func() { leave(h) })
				c.wantClose(closeFinal)
				leaving.Wait()
			})
		})
	}
}

package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// crowd stands in for a gateway with subscribers.
type crowd struct {
	mu       sync.Mutex
	channels map[fsm.ChannelKey]bool
	durable  bool // no channel is a memory channel
}

func (c *crowd) attends(k fsm.ChannelKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels[k]
}

func (c *crowd) attended() (all []fsm.ChannelKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.channels {
		all = append(all, k)
	}
	return all
}

func (c *crowd) transient(fsm.ChannelKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.durable
}

func (c *crowd) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// listeners are the peers of an announcer.
type listeners struct {
	mu    sync.Mutex
	heard map[string]*interest
	// fate says what becomes of a change: 0 is taken and answered, 1 lost, 2 taken
	// and not answered.
	fate func(peer string) int
}

var errNoAnswer = errors.New("no answer")

func (l *listeners) tell(_ context.Context, peer string, c interestChange) (interestAnswer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fate := 0
	if l.fate != nil {
		fate = l.fate(peer)
	}
	if fate == 1 {
		return interestAnswer{}, errNoAnswer
	}
	a := l.heard[peer]
	if a == nil {
		a = &interest{}
		l.heard[peer] = a
	}
	answer := a.apply(c, time.Now())
	if fate == 2 {
		return interestAnswer{}, errNoAnswer
	}
	return answer, nil
}

func (l *listeners) wants(peer string, k fsm.ChannelKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[peer].wants(k, time.Now())
}

func startAnnouncer(t *testing.T, c *crowd, l *listeners, peers ...string) *announcer {
	t.Helper()
	a := newAnnouncer(c.attends, c.attended, c.transient, l.tell)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	a.setPeers(peers)
	return a
}

// add subscribes to a channel and waits as the gateway does.
func (c *crowd) attend(t *testing.T, a *announcer, k fsm.ChannelKey) {
	t.Helper()
	c.set(func() { c.channels[k] = true })
	arrived := make(chan struct{})
	if !a.add([]fsm.ChannelKey{k}, func() { close(arrived) }) {
		return
	}
	select {
	case <-arrived:
	case <-time.After(testDeadline):
		t.Fatalf("%v was never attended to", k)
	}
}

func channelNumber(n int) fsm.ChannelKey {
	return fsm.ChannelKey{Project: "p", Name: fmt.Sprint(n)}
}

func TestPeersKnowBeforeTheSubscriberDoes(t *testing.T) {
	c := &crowd{channels: make(map[fsm.ChannelKey]bool)}
	var unreliable sync.Mutex
	chance := rand.New(rand.NewPCG(1, 2))
	l := &listeners{heard: make(map[string]*interest), fate: func(string) int {
		unreliable.Lock()
		defer unreliable.Unlock()
		return max(chance.IntN(10)-7, 0) // one in ten is lost, one goes unanswered
	}}
	a := startAnnouncer(t, c, l, "a", "b")
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for round := range 20 {
				k := channelNumber(round*8 + client)
				c.attend(t, a, k)
				for _, peer := range []string{"a", "b"} {
					if !l.wants(peer, k) {
						t.Errorf("%s does not send %v", peer, k)
					}
				}
				if round%2 == 0 {
					c.set(func() { delete(c.channels, k) })
					a.drop(k)
				}
			}
		})
	}
	clients.Wait()
	l.mu.Lock()
	l.fate = nil
	l.mu.Unlock()
	converge(t, c, l, "a", "b")

	// Nothing is a memory channel any more, and then all are again.
	c.set(func() { c.durable = true })
	a.rulesChanged()
	eventually(t, func() error {
		if l.wants("a", channelNumber(8)) {
			return errors.New("a still sends channel 8")
		}
		return nil
	})
	c.set(func() { c.durable = false })
	a.rulesChanged()
	converge(t, c, l, "a", "b")
}

// converge waits until the peers send what the crowd attends to and nothing else.
func converge(t *testing.T, c *crowd, l *listeners, peers ...string) {
	t.Helper()
	eventually(t, func() error {
		for _, peer := range peers {
			for n := range 160 {
				k := channelNumber(n)
				if got, want := l.wants(peer, k), c.attends(k); got != want {
					return fmt.Errorf("%s sends %v: %v, want %v", peer, k, got, want)
				}
			}
		}
		return nil
	})
}

func TestASilentPeerIsNotWaitedForLong(t *testing.T) {
	c := &crowd{channels: make(map[fsm.ChannelKey]bool)}
	l := &listeners{heard: make(map[string]*interest)}
	a := startAnnouncer(t, c, l, "a", "b")
	c.attend(t, a, channelNumber(1))
	l.mu.Lock()
	l.fate = func(peer string) int {
		if peer == "b" {
			return 1
		}
		return 0
	}
	l.mu.Unlock()
	c.attend(t, a, channelNumber(2))
	if !l.wants("a", channelNumber(2)) || !l.wants("b", channelNumber(2)) {
		t.Error("what b once heard still holds")
	}
	if c.set(func() { c.channels[channelNumber(3)] = true }); a.add([]fsm.ChannelKey{channelNumber(3)}, func() {}) &&
		!l.wants("a", channelNumber(3)) {
		// Only a may be waited for, which answers in a moment.
		a.mu.Lock()
		if waiting := len(a.links["b"].waiting); waiting > 0 {
			t.Errorf("%d wait for a peer that is lost", waiting)
		}
		a.mu.Unlock()
	}
	// A peer that is gone for good delays nobody.
	l.mu.Lock()
	l.fate = func(string) int { return 1 }
	l.mu.Unlock()
	arrived := make(chan struct{})
	c.set(func() { c.channels[channelNumber(4)] = true })
	if a.add([]fsm.ChannelKey{channelNumber(4)}, func() { close(arrived) }) {
		a.setPeers(nil)
		<-arrived
	}
}

// eventually waits until check returns nil and fails with its last reason.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	end := time.Now().Add(testDeadline)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

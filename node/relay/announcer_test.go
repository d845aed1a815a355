package relay

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

// fakeSubscriptions stands in for a gateway.
type fakeSubscriptions struct {
	mu       sync.Mutex
	channels map[fsm.ChannelKey]bool
	durable  bool // no channel is a memory channel
}

func (c *fakeSubscriptions) HasSubscribers(k fsm.ChannelKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels[k]
}

func (c *fakeSubscriptions) SubscribedChannels() (all []fsm.ChannelKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.channels {
		all = append(all, k)
	}
	return all
}

func (c *fakeSubscriptions) isMemory(fsm.ChannelKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.durable
}

func (c *fakeSubscriptions) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// fakePeers are the peers of an announcer.
type fakePeers struct {
	mu    sync.Mutex
	known map[string]*interest
	// fate decides over a change: 0 it is taken and answered, 1 it is lost, 2 it is taken
	// and not answered.
	fate func(peer string) int
}

const deadline = 20 * time.Second

var errNoAnswer = errors.New("no answer")

func (l *fakePeers) tell(_ context.Context, peer string, c Change) (Answer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fate := 0
	if l.fate != nil {
		fate = l.fate(peer)
	}
	if fate == 1 {
		return Answer{}, errNoAnswer
	}
	a := l.known[peer]
	if a == nil {
		a = &interest{}
		l.known[peer] = a
	}
	answer := a.apply(c, time.Now())
	if fate == 2 {
		return Answer{}, errNoAnswer
	}
	return answer, nil
}

func (l *fakePeers) wants(peer string, k fsm.ChannelKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[peer].wants(k, time.Now())
}

func startAnnouncer(t *testing.T, c *fakeSubscriptions, l *fakePeers, peers ...string) *Announcer {
	t.Helper()
	a := NewAnnouncer(c, c.isMemory, l.tell)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	a.SetPeers(peers)
	return a
}

// subscribe subscribes to a channel and waits as the gateway does.
func (c *fakeSubscriptions) subscribe(t *testing.T, a *Announcer, k fsm.ChannelKey) {
	t.Helper()
	c.set(func() { c.channels[k] = true })
	passed := make(chan struct{})
	if !a.Add([]fsm.ChannelKey{k}, func() { close(passed) }) {
		return
	}
	select {
	case <-passed:
	case <-time.After(deadline):
		t.Fatalf("the peers never confirmed %v", k)
	}
}

func channelNumber(n int) fsm.ChannelKey {
	return fsm.ChannelKey{Project: "p", Name: fmt.Sprint(n)}
}

func TestPeersKnowBeforeTheSubscriberDoes(t *testing.T) {
	c := &fakeSubscriptions{channels: make(map[fsm.ChannelKey]bool)}
	var unreliable sync.Mutex
	chance := rand.New(rand.NewPCG(1, 2))
	l := &fakePeers{known: make(map[string]*interest), fate: func(string) int {
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
				c.subscribe(t, a, k)
				for _, peer := range []string{"a", "b"} {
					if !l.wants(peer, k) {
						t.Errorf("%s does not send %v", peer, k)
					}
				}
				if round%2 == 0 {
					c.set(func() { delete(c.channels, k) })
					a.Drop(k)
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
	a.RulesChanged()
	eventually(t, func() error {
		if l.wants("a", channelNumber(8)) {
			return errors.New("a still sends channel 8")
		}
		return nil
	})
	c.set(func() { c.durable = false })
	a.RulesChanged()
	converge(t, c, l, "a", "b")
}

// converge waits until the peers send the subscribed channels and nothing else.
func converge(t *testing.T, c *fakeSubscriptions, l *fakePeers, peers ...string) {
	t.Helper()
	eventually(t, func() error {
		for _, peer := range peers {
			for n := range 160 {
				k := channelNumber(n)
				if got, want := l.wants(peer, k), c.HasSubscribers(k); got != want {
					return fmt.Errorf("%s sends %v: %v, want %v", peer, k, got, want)
				}
			}
		}
		return nil
	})
}

func TestASilentPeerIsNotWaitedForLong(t *testing.T) {
	c := &fakeSubscriptions{channels: make(map[fsm.ChannelKey]bool)}
	l := &fakePeers{known: make(map[string]*interest)}
	a := startAnnouncer(t, c, l, "a", "b")
	c.subscribe(t, a, channelNumber(1))
	l.mu.Lock()
	l.fate = func(peer string) int {
		if peer == "b" {
			return 1
		}
		return 0
	}
	l.mu.Unlock()
	c.subscribe(t, a, channelNumber(2))
	if !l.wants("a", channelNumber(2)) || !l.wants("b", channelNumber(2)) {
		t.Error("b does not send what it once confirmed")
	}
	if c.set(func() { c.channels[channelNumber(3)] = true }); a.Add([]fsm.ChannelKey{channelNumber(3)}, func() {}) &&
		!l.wants("a", channelNumber(3)) {
		// Only a may be waited for, which answers in a moment.
		a.mu.Lock()
		if waiting := a.links["b"].waiters.Len(); waiting > 0 {
			t.Errorf("%d wait for a peer that is lost", waiting)
		}
		a.mu.Unlock()
	}
	// A peer that is gone for good delays nobody.
	l.mu.Lock()
	l.fate = func(string) int { return 1 }
	l.mu.Unlock()
	passed := make(chan struct{})
	c.set(func() { c.channels[channelNumber(4)] = true })
	if a.Add([]fsm.ChannelKey{channelNumber(4)}, func() { close(passed) }) {
		a.SetPeers(nil)
		<-passed
	}
}

// eventually waits until check returns nil and fails with its last reason.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	end := time.Now().Add(deadline)
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

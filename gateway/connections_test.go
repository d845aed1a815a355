package gateway

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
)

// turning is a server with one loop that does nothing but what it is asked.
func turning(t *testing.T, after func(l *loop)) (s *Server, l *loop, begin func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s = &Server{ctx: ctx}
	s.cfg.Broker = newFakeBroker()
	s.interest = newInterest()
	l = &loop{server: s, began: time.Now(), mail: newMailbox(1 << 20), channels: make(map[fsm.ChannelKey]*localChannel)}
	s.loops = []*loop{l}
	done, begun := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		<-begun
		for {
			select {
			case <-l.mail.wake:
				for _, task := range l.mail.takeTasks(nil) {
					task.do()
				}
				after(l)
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s, l, func() { close(begun) }
}

// Connections are looked at in parts. Everybody who stays is met once, whoever comes
// and goes meanwhile, and in no turn more than a part.
func TestConnectionsAreCollectedInParts(t *testing.T) {
	var turns atomic.Int64
	seen := 0
	s, l, begin := turning(t, func(l *loop) {
		if turns.Add(1); seen > connectionsPerTurn {
			t.Errorf("%d in one turn", seen)
		}
		seen = 0
		for at := len(l.conns) - 1; at >= 0; at-- {
			if c := l.conns[at]; c.id%3 == 1 && c.id <= uint64(turns.Load()*900) {
				last := len(l.conns) - 1
				l.conns[at] = l.conns[last]
				l.conns = l.conns[:last]
			}
		}
	})
	const all = 4 * connectionsPerTurn
	for id := range uint64(all) {
		l.conns = append(l.conns, &conn{loop: l, id: id + 1, who: auth.Unauthenticated, state: stateOpen})
	}
	begin()
	met := collect(s, func(c *conn) (bool, bool) { seen++; return true, true })
	if n := turns.Load(); n < 3 {
		t.Errorf("looked at in %d turns", n)
	}
	for id := range uint64(all) {
		if (id+1)%3 != 1 && !met[id+1] {
			t.Fatalf("connection %d is missed", id+1)
		}
	}
}

// Channels are looked at in parts, too, and those that stay are counted once.
func TestSubscribersAreCountedInParts(t *testing.T) {
	var turns atomic.Int64
	const all = 3*channelsPerTurn + 1
	key := func(n int) fsm.ChannelKey { return fsm.ChannelKey{Project: "p", Name: fmt.Sprint(n)} }
	s, l, begin := turning(t, func(l *loop) {
		turn := int(turns.Add(1))
		for n := range 1000 { // some go, others come
			delete(l.channels, key(3*(1000*turn+n)))
			l.channels[key(all+1000*turn+n)] = &localChannel{loop: l, subs: make([]*subscription, 1)}
		}
	})
	for n := range all {
		l.channels[key(n)] = &localChannel{loop: l, subs: make([]*subscription, n%3)}
		l.channels[fsm.ChannelKey{Project: "q", Name: fmt.Sprint(n)}] = &localChannel{loop: l, subs: make([]*subscription, 1)}
	}
	begin()
	count := s.Subscribers("p")
	if n := turns.Load(); n < 6 {
		t.Errorf("counted in %d turns", n)
	}
	for n := range all {
		if n%3 != 0 && count[fmt.Sprint(n)] != n%3 {
			t.Fatalf("channel %d has %d subscribers", n, count[fmt.Sprint(n)])
		}
	}
}

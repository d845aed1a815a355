// Package presence tells the other nodes the members that this node has, and takes in what
// they tell. Each node owns its slice of the members, and numbers its changes; who missed one
// is told everything anew. The package knows nothing of clients, of Raft, or of how one node
// reaches another.
package presence

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/gateway/presence"
	"github.com/aptlyd/aptlyd/internal/barrier"
)

const (
	sendTimeout = time.Second // for one message
	// retryPause is the pause before a peer that failed is told again.
	retryPause = 100 * time.Millisecond
)

// Exchange tells each peer the own slice of the members.
type Exchange struct {
	members *presence.Members
	may     func() bool
	tell    func(ctx context.Context, peer string, message []byte) ([]byte, error)

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	peers map[string]*peer
}

type peer struct {
	link
	id     string
	wake   chan struct{}
	cancel context.CancelFunc
}

// New returns an exchange without peers. It tells nothing while may returns false: the node
// does not know then whether its clients are still its own. tell sends a message to a peer and
// returns the answer.
func New(members *presence.Members, may func() bool,
	tell func(ctx context.Context, peer string, message []byte) ([]byte, error),
) *Exchange {
	ctx, cancel := context.WithCancel(context.Background())
	return &Exchange{
		members: members, may: may, tell: tell, ctx: ctx, cancel: cancel, peers: make(map[string]*peer),
	}
}

// SetPeers replaces the set of peers that are told.
func (e *Exchange) SetPeers(ids []string) {
	e.mu.Lock()
	var passed []func()
	for id, p := range e.peers {
		if !slices.Contains(ids, id) {
			p.cancel()
			delete(e.peers, id)
			passed = append(passed, p.release(true)...)
		}
	}
	for _, id := range ids {
		if e.peers[id] == nil && e.ctx.Err() == nil {
			ctx, cancel := context.WithCancel(e.ctx)
			p := &peer{link: link{members: e.members}, id: id, wake: make(chan struct{}, 1), cancel: cancel}
			e.peers[id] = p
			e.running.Go(func() { e.serve(ctx, p) })
		}
	}
	forget := uint64(math.MaxUint64)
	for _, p := range e.peers {
		forget = min(forget, p.covered())
	}
	e.members.Forget(forget)
	e.mu.Unlock()
	for _, then := range passed {
		then()
	}
}

// Changed has the peers told of changes, if there are any. It does not block.
func (e *Exchange) Changed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.peers {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// Await calls then once every peer that answers has taken the changes up to a number. It
// reports false, and does not call then, when there is nothing to wait for.
func (e *Exchange) Await(number uint64, then func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := barrier.New(then)
	now := time.Now()
	for _, p := range e.peers {
		if p.known && p.number >= number || p.lost(now) {
			continue
		}
		p.waiters.Add(number, b)
	}
	return b.Held()
}

// serve tells one peer every change, and at intervals that nothing has changed.
func (e *Exchange) serve(ctx context.Context, p *peer) {
	ticker := time.NewTicker(Beat)
	defer ticker.Stop()
	held := false
	for more := true; ; {
		if !more {
			select {
			case <-p.wake:
				if !e.due(p) {
					continue
				}
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		if more = false; !e.may() {
			held = true
			continue
		}
		var failed bool
		if more, failed = e.sendNext(ctx, p, held); failed {
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
				return
			}
		}
		held = false
	}
}

func (e *Exchange) due(p *peer) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return p.due()
}

// sendNext tells one message. It reports whether another is due, and whether the peer failed
// to take this one. A peer is waited for anew when this node was cut off itself.
func (e *Exchange) sendNext(ctx context.Context, p *peer, wasHeld bool) (more, failed bool) {
	e.mu.Lock()
	if wasHeld {
		p.broken = time.Time{}
	}
	message := p.next(time.Now())
	e.mu.Unlock()

	telling, cancel := context.WithTimeout(ctx, sendTimeout)
	reply, err := e.tell(telling, p.id, encode(message))
	cancel()
	var answer presence.Answer
	if err == nil {
		answer, err = decodeAnswer(reply)
	}

	e.mu.Lock()
	now := time.Now()
	more = p.answered(message, answer, err, now)
	passed := p.release(p.lost(now))
	e.mu.Unlock()
	for _, then := range passed {
		then()
	}
	return more, err != nil || !answer.Taken
}

// Receive takes in a message of a peer and returns the answer.
func (e *Exchange) Receive(from string, raw []byte, now time.Time) ([]byte, error) {
	message, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return encodeAnswer(e.members.Take(from, message, now)), nil
}

// Close stops telling. Barriers that still wait are never passed.
func (e *Exchange) Close() error {
	e.mu.Lock()
	e.cancel()
	e.mu.Unlock()
	e.running.Wait()
	return nil
}

// Package relay carries messages of memory channels between nodes. Relay sends each peer
// the messages that it is interested in; Announcer tells the peers what this node is
// interested in. The package knows nothing of Raft, of clients, or of how one node
// reaches another.
package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// Bounds of the messages that wait for one peer, in bytes of payload.
const (
	queueBytes = 8 << 20   // altogether
	batchBytes = 256 << 10 // sent together
)

// maxPeers bounds the nodes that may announce their interest before they are known as
// members.
const maxPeers = 64

const (
	sendTimeout = 2 * time.Second // for one batch
	// slowAfter bounds the time that a peer takes over a batch before its queue holds up
	// publishers no more.
	slowAfter = 250 * time.Millisecond
)

var (
	// ErrOverloaded says that too much waits for a peer that still answers.
	ErrOverloaded = errors.New("too much waits for a peer")
	// ErrClosed says that the relay was closed.
	ErrClosed = errors.New("relay closed")
)

// Relay sends messages of memory channels to the nodes that are interested in them.
// While one batch is on its way to a peer the next one gathers. Messages of one
// publisher to one channel keep their order.
type Relay struct {
	send func(ctx context.Context, peer string, batch []byte) error
	drop func(n int) // counts messages that could not be delivered

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	peers map[string]*peer
}

// peer is another node: its interest and the messages that wait for it.
type peer struct {
	id     string
	wake   chan struct{}
	cancel context.CancelFunc

	interest interest
	queue    []fsm.Appended
	bytes    int       // of queue
	sending  time.Time // when the batch on its way left; zero: none is
}

// New returns a relay without peers. It sends encoded batches with send and reports
// messages that do not reach a peer to drop.
func New(send func(ctx context.Context, peer string, batch []byte) error, drop func(n int)) *Relay {
	ctx, cancel := context.WithCancel(context.Background())
	return &Relay{send: send, drop: drop, ctx: ctx, cancel: cancel, peers: make(map[string]*peer)}
}

// Broadcast queues groups for each interested peer. It queues nothing and returns
// ErrOverloaded when too much waits, or ErrClosed. It does not block.
func (r *Relay) Broadcast(groups []fsm.Appended, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return ErrClosed
	}
	// A busy peer holds up publishers. A peer that hangs loses what does not fit.
	for _, p := range r.peers {
		if p.bytes > queueBytes && !p.hangs(now) {
			return ErrOverloaded
		}
	}
	dropped := 0
	for _, p := range r.peers {
		for _, g := range groups {
			switch {
			case !p.interest.wants(g.Channel, now):
			case p.bytes > queueBytes:
				dropped += len(g.Messages)
			default:
				p.queue = append(p.queue, g)
				p.bytes += payloadBytes(g)
			}
		}
		if len(p.queue) > 0 {
			signal(p.wake)
		}
	}
	if dropped > 0 {
		r.drop(dropped)
	}
	return nil
}

func (p *peer) hangs(now time.Time) bool {
	return !p.sending.IsZero() && now.Sub(p.sending) > slowAfter
}

func payloadBytes(g fsm.Appended) (n int) {
	for i := range g.Messages {
		n += len(g.Messages[i].Data)
	}
	return n
}

// SetPeers replaces the set of peers. A peer that announced its interest within
// interestAge stays in any case.
func (r *Relay) SetPeers(ids []string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	gone := make(map[string]bool, len(r.peers))
	for id, p := range r.peers {
		gone[id] = now.Sub(p.interest.at) > interestAge
	}
	for _, id := range ids {
		delete(gone, id)
		r.peer(id)
	}
	for id, is := range gone {
		if is {
			r.peers[id].cancel()
			delete(r.peers, id)
		}
	}
}

// peer returns a peer and makes it if it is new. r.mu is held.
func (r *Relay) peer(id string) *peer {
	p := r.peers[id]
	if p == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		p = &peer{id: id, wake: make(chan struct{}, 1), cancel: cancel}
		r.peers[id] = p
		r.running.Go(func() { r.serve(ctx, p) })
	}
	return p
}

// SetInterest applies a change that a peer announced.
func (r *Relay) SetInterest(peer string, change Change, now time.Time) Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.peers[peer]; r.ctx.Err() != nil || !known && len(r.peers) >= maxPeers {
		return Answer{}
	}
	return r.peer(peer).interest.apply(change, now)
}

// serve sends one peer its queue, batch by batch.
func (r *Relay) serve(ctx context.Context, p *peer) {
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
		for {
			batch, count := r.take(p)
			if count == 0 {
				break
			}
			sending, cancel := context.WithTimeout(ctx, sendTimeout)
			// A batch that does not arrive is lost: such messages carry no promise.
			_ = r.send(sending, p.id, Encode(batch))
			cancel()
		}
	}
}

// take removes the next batch from a peer's queue and returns it with the number of its
// messages.
func (r *Relay) take(p *peer) (batch []fsm.Appended, count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := 0, 0
	for n < len(p.queue) && (n == 0 || size < batchBytes) {
		size += payloadBytes(p.queue[n])
		count += len(p.queue[n].Messages)
		n++
	}
	batch = p.queue[:n:n]
	p.bytes -= size
	if p.queue = p.queue[n:]; len(p.queue) == 0 {
		p.queue = nil
	}
	p.sending = time.Time{}
	if count > 0 {
		p.sending = time.Now()
	}
	return batch, count
}

// Close stops sending. Queued messages are lost.
func (r *Relay) Close() error {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.running.Wait()
	return nil
}

// signal leaves one token in a channel that holds one.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

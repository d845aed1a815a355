package node

import (
	"context"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
)

// Bounds of what waits for one peer, in bytes of payload.
const (
	relayQueueBytes = 8 << 20   // altogether
	relayBatchBytes = 256 << 10 // withSender together
)

// maxRelayPeers bounds the nodes that say what they attend to before they are known as
// members.
const maxRelayPeers = 64

const (
	relayTimeout = 2 * time.Second // for one batch
	// relaySlowAfter is how long a peer may take over a batch before publishers
	// are not held up by it any more.
	relaySlowAfter = 250 * time.Millisecond
)

// relay brings messages of memory channels to the nodes that attend to them.
// While some are on their way to a peer the next gather. Messages of one
// publisher to one channel keep their order.
type relay struct {
	send func(ctx context.Context, peer string, batch []byte) error
	drop func(n int) // counts what could not be delivered

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	peers map[string]*relayPeer
}

// relayPeer is another node as a relay sees it.
type relayPeer struct {
	id     string
	wake   chan struct{}
	cancel context.CancelFunc

	interest interest
	queue    []fsm.Appended
	bytes    int       // of queue
	sending  time.Time // when the batch on its way left; zero: none is
}

func newRelay(send func(context.Context, string, []byte) error, drop func(int)) *relay {
	ctx, cancel := context.WithCancel(context.Background())
	return &relay{send: send, drop: drop, ctx: ctx, cancel: cancel, peers: make(map[string]*relayPeer)}
}

// broadcast gives each peer what it attends to of groups, or nothing to anybody
// and ErrOverloaded when too much waits. It does not block.
func (r *relay) broadcast(groups []fsm.Appended, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return cluster.ErrUnavailable
	}
	// A peer that hangs loses what does not fit; one that is merely busy has
	// publishers wait.
	for _, p := range r.peers {
		if p.bytes > relayQueueBytes && !p.hangs(now) {
			return cluster.ErrOverloaded
		}
	}
	dropped := 0
	for _, p := range r.peers {
		for _, g := range groups {
			switch {
			case !p.interest.wants(g.Channel, now):
			case p.bytes > relayQueueBytes:
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

func (p *relayPeer) hangs(now time.Time) bool {
	return !p.sending.IsZero() && now.Sub(p.sending) > relaySlowAfter
}

func payloadBytes(g fsm.Appended) (n int) {
	for i := range g.Messages {
		n += len(g.Messages[i].Data)
	}
	return n
}

// setPeers says which other nodes there are. One that has just told what it
// attends to is there in any case.
func (r *relay) setPeers(ids []string, now time.Time) {
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

// peer returns a peer, made when it is new. r.mu is held.
func (r *relay) peer(id string) *relayPeer {
	p := r.peers[id]
	if p == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		p = &relayPeer{id: id, wake: make(chan struct{}, 1), cancel: cancel}
		r.peers[id] = p
		r.running.Go(func() { r.serve(ctx, p) })
	}
	return p
}

// applyInterest takes what a peer says of the channels that it attends to.
func (r *relay) applyInterest(peer string, change interestChange, now time.Time) interestAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.peers[peer]; r.ctx.Err() != nil || !known && len(r.peers) >= maxRelayPeers {
		return interestAnswer{}
	}
	return r.peer(peer).interest.apply(change, now)
}

// serve sends one peer what waits for it, as much as fits at a time.
func (r *relay) serve(ctx context.Context, p *relayPeer) {
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
			sending, cancel := context.WithTimeout(ctx, relayTimeout)
			// What does not arrive is lost: such messages carry no promise.
			_ = r.send(sending, p.id, encodeTransients(batch))
			cancel()
		}
	}
}

// take returns the next batch for a peer and the number of its messages.
func (r *relay) take(p *relayPeer) (batch []fsm.Appended, count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := 0, 0
	for n < len(p.queue) && (n == 0 || size < relayBatchBytes) {
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

func (r *relay) close() error {
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

// publishTransient delivers messages of memory channels: to subscribers here and
// on the other nodes, to the log never.
func (n *Node) publishTransient(batch []fsm.Publish, done func(int, fsm.Receipt, error)) {
	now := time.Now()
	receipt := fsm.Receipt{Timestamp: max(n.state.Stamp(), now.UnixMilli())}
	err := cluster.ErrUnavailable
	if n.Staleness() <= gateway.RefuseAfter {
		groups := byChannel(batch, receipt.Timestamp)
		if err = n.relay.broadcast(groups, now); err == nil {
			n.gateway.Transient(groups)
		}
	}
	go func() {
		for i := range batch {
			if err != nil {
				done(i, fsm.Receipt{}, asRefusal(err))
			} else {
				done(i, receipt, nil)
			}
		}
	}()
}

// byChannel joins messages of the same channel.
func byChannel(batch []fsm.Publish, stamp int64) []fsm.Appended {
	groups := make([]fsm.Appended, 0, 1)
	at := make(map[fsm.ChannelKey]int, 1)
	for _, p := range batch {
		i, known := at[p.Channel]
		if !known {
			i = len(groups)
			at[p.Channel] = i
			groups = append(groups, fsm.Appended{Channel: p.Channel})
		}
		groups[i].Messages = append(groups[i].Messages, fsm.Message{Timestamp: stamp, Data: p.Data})
	}
	return groups
}

// receive takes transient messages from a peer.
func (n *Node) receive(_ string, message []byte) error {
	batch, err := decodeTransients(message)
	if err != nil {
		return err
	}
	n.gateway.Transient(batch)
	return nil
}

// send sends a batch of transient messages to a peer.
func (n *Node) send(ctx context.Context, peer string, batch []byte) error {
	return n.cluster.Send(ctx, peer, batch)
}

package node

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
)

// transientMessage is a message of a channel with durability "memory" on its
// way to the subscribers of another node.
type transientMessage struct {
	Project   string          `json:"project"`
	Channel   string          `json:"channel"`
	Timestamp int64           `json:"timestamp"` // Unix ms
	Data      json.RawMessage `json:"data"`
}

// Bounds of what waits for one peer. What does not fit is not delivered there:
// such messages carry no promise, and a slow peer must not slow the publisher.
const (
	relayQueue   = 4096            // messages
	relayBatch   = 256             // messages sent together
	relayTimeout = 2 * time.Second // for one batch
)

// relay carries transient messages to the other nodes, one queue and one
// goroutine per peer, so that peers do not wait for each other.
type relay struct {
	send func(ctx context.Context, peer string, batch []transientMessage) error
	drop func(n int) // counts what could not be delivered

	mu     sync.Mutex
	queues map[string]chan transientMessage // by node id
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newRelay(send func(context.Context, string, []transientMessage) error, drop func(int)) *relay {
	ctx, cancel := context.WithCancel(context.Background())
	return &relay{send: send, drop: drop, queues: make(map[string]chan transientMessage), ctx: ctx, cancel: cancel}
}

// broadcast hands a message to the queue of every peer. It never blocks.
func (r *relay) broadcast(peers []cluster.Member, self string, m transientMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	for _, p := range peers {
		if p.ID == self || !p.Alive {
			continue
		}
		queue, ok := r.queues[p.ID]
		if !ok {
			queue = make(chan transientMessage, relayQueue)
			r.queues[p.ID] = queue
			r.wg.Go(func() { r.run(p.ID, queue) })
		}
		select {
		case queue <- m:
		default:
			r.drop(1)
		}
	}
}

// run sends what waits for one peer, everything that is there at a time.
func (r *relay) run(peer string, queue <-chan transientMessage) {
	batch := make([]transientMessage, 0, relayBatch)
	for {
		batch = batch[:0]
		select {
		case m := <-queue:
			batch = append(batch, m)
		case <-r.ctx.Done():
			return
		}
		for more := true; more && len(batch) < relayBatch; {
			select {
			case m := <-queue:
				batch = append(batch, m)
			default:
				more = false
			}
		}
		ctx, cancel := context.WithTimeout(r.ctx, relayTimeout)
		if err := r.send(ctx, peer, batch); err != nil {
			r.drop(len(batch))
		}
		cancel()
	}
}

func (r *relay) close() error {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}

// publishTransient delivers messages of memory channels: here at once, to the
// other nodes by the relay, to the log never.
func (n *Node) publishTransient(batch []fsm.Publish, done func(int, fsm.Receipt, error)) {
	if n.Staleness() > gateway.RefuseAfter {
		go func() {
			for i := range batch {
				done(i, fsm.Receipt{}, refusal(cluster.ErrUnavailable))
			}
		}()
		return
	}
	stamp := max(n.state.Stamp(), time.Now().UnixMilli())
	self, _ := n.cluster.ID()
	members := n.cluster.Members()
	messages := make([]transientMessage, len(batch))
	for i, p := range batch {
		messages[i] = transientMessage{Project: p.Channel.Project, Channel: p.Channel.Name, Timestamp: stamp, Data: p.Data}
		n.relay.broadcast(members, self, messages[i])
	}
	n.deliverTransient(messages)
	go func() {
		for i := range batch {
			done(i, fsm.Receipt{Timestamp: stamp}, nil)
		}
	}()
}

// deliverTransient hands messages to this node's subscribers.
func (n *Node) deliverTransient(batch []transientMessage) {
	appended := make([]fsm.Appended, len(batch))
	for i, t := range batch {
		appended[i] = fsm.Appended{
			Channel:  fsm.ChannelKey{Project: t.Project, Name: t.Channel},
			Messages: []fsm.Message{{Timestamp: t.Timestamp, Data: t.Data}},
		}
	}
	n.gateway.Transient(appended)
}

// relayTo sends one batch of transient messages to a peer.
func (n *Node) relayTo(ctx context.Context, peer string, batch []transientMessage) error {
	request, err := json.Marshal(question{Transient: batch})
	if err != nil {
		return err
	}
	_, err = n.cluster.Query(ctx, peer, request)
	return err
}

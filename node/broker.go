package node

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

var _ gateway.Broker = (*Node)(nil)

// Epoch implements gateway.Broker.
func (n *Node) Epoch() string { return n.state.Epoch() }

// Key implements gateway.Broker.
func (n *Node) Key(text string) (fsm.Key, bool) { return n.state.KeyByText(text) }

// HasImportedKeys implements gateway.Broker.
func (n *Node) HasImportedKeys() bool { return n.state.HasImportedKeys() }

// KeyByID implements gateway.Broker.
func (n *Node) KeyByID(id string) (fsm.Key, bool) { return n.state.Key(id) }

// Stamp implements gateway.Broker.
func (n *Node) Stamp() int64 { return n.state.Stamp() }

// Project implements gateway.Broker.
func (n *Node) Project(id string) (*fsm.Project, bool) { return n.state.Project(id) }

// Staleness implements gateway.Broker.
func (n *Node) Staleness() time.Duration { return n.cluster.Staleness() }

// Stalled implements gateway.Broker.
func (n *Node) Stalled() string { return n.stalls.Stalled() }

// CatchUp implements gateway.Broker.
func (n *Node) CatchUp(ctx context.Context) error { return n.asRefusal(n.cluster.CatchUp(ctx)) }

// ReadYourWrites implements gateway.Broker.
func (n *Node) ReadYourWrites(ctx context.Context) error {
	return asRefusal(n.cluster.WaitApplied(ctx, n.acknowledged.Load()))
}

// highestIndex keeps the highest index it was given.
type highestIndex struct{ atomic.Uint64 }

func (h *highestIndex) raise(index uint64) {
	for old := h.Load(); old < index && !h.CompareAndSwap(old, index); old = h.Load() {
	}
}

// Publish implements gateway.Broker.
func (n *Node) Publish(batch []fsm.Publish, done func(int, fsm.Receipt, error)) {
	done = n.latency.time(done)
	var transient []fsm.Publish
	var transients []int // places in batch
	logged := newLoggedPublishes(batch)
	since, withSender := n.state.Stamp(), n.level.Load() >= fsm.SenderLevel
	for i, p := range batch {
		project, ok := n.state.Project(p.Channel.Project)
		switch {
		case !ok:
			go done(i, fsm.Receipt{}, refusal.New(refusal.NotFound, "the project was deleted"))
		case project.Rule(p.Channel.Name).Durability == fsm.DurabilityMemory:
			if err := n.Alive(p.From); err != nil {
				go done(i, fsm.Receipt{}, err)
				continue
			}
			p.Data = bytes.Clone(p.Data)
			transient, transients = append(transient, p), append(transients, i)
		case n.disk.low.Load():
			go done(i, fsm.Receipt{}, errDiskFull)
		default:
			if p.From.Since = since; !withSender {
				p.From = fsm.Sender{}
			}
			logged.add(i, &p)
		}
	}
	if len(transient) > 0 {
		n.publishMemory(transient, func(i int, r fsm.Receipt, err error) { done(transients[i], r, err) })
	}
	if len(logged.commands) > 0 {
		n.cluster.Submit(logged.commands, func(i int, r cluster.Result) {
			from := logged.from[i]
			if r.Err != nil {
				done(from.place, fsm.Receipt{}, n.asRefusal(r.Err))
				return
			}
			n.acknowledged.raise(r.Index)
			receipt, err := fsm.DecodeReceipt(r.Data)
			done(from.place, receipt, refusalTo(from.kind, err))
		})
	}
}

// loggedPublishes are the publishes of a batch that go to the log, as commands. They share one
// buffer, as most of them end together.
type loggedPublishes struct {
	commands [][]byte
	from     []publishedFrom
	buffer   []byte
}

// publishedFrom says where a command came from.
type publishedFrom struct {
	place int // in the batch
	kind  fsm.SenderKind
}

func newLoggedPublishes(batch []fsm.Publish) loggedPublishes {
	size := 0
	for i := range batch {
		size += batch[i].MaxSize()
	}
	return loggedPublishes{
		commands: make([][]byte, 0, len(batch)), from: make([]publishedFrom, 0, len(batch)), buffer: make([]byte, 0, size),
	}
}

func (l *loggedPublishes) add(place int, p *fsm.Publish) {
	begin := len(l.buffer)
	l.buffer = p.Append(l.buffer)
	l.commands = append(l.commands, l.buffer[begin:len(l.buffer):len(l.buffer)])
	l.from = append(l.from, publishedFrom{place, p.From.Kind})
}

// Channel implements gateway.Broker.
func (n *Node) Channel(_ context.Context, key fsm.ChannelKey) (fsm.ChannelInfo, error) {
	return n.state.Channel(key)
}

// Read implements gateway.Broker.
func (n *Node) Read(_ context.Context, key fsm.ChannelKey, after uint64, maxMessages, maxBytes int) (fsm.Page, error) {
	return n.state.Read(key, after, maxMessages, maxBytes)
}

// OffsetAt implements gateway.Broker.
func (n *Node) OffsetAt(_ context.Context, key fsm.ChannelKey, t int64) (uint64, error) {
	return n.state.OffsetAt(key, t)
}

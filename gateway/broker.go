package gateway

import (
	"context"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
)

// Broker is the node as its gateway sees it. Methods that take a context may block and
// are never called on an event loop; the others answer from memory. Errors that a client
// may see are *refusal.Error.
type Broker interface {
	NodeName() string
	// Epoch names the numbering that offsets belong to.
	Epoch() string

	auth.Keys
	// Endpoints are the URLs (wss://…) at which clients reach the other nodes that
	// serve, as far as these were told theirs. The result must not be changed.
	Endpoints() []string
	// Replace has the other nodes not count the connection whose place another one of the
	// same principal takes. It returns by how much less is counted, 0 when there is none.
	Replace(ctx context.Context, r Replacement) (counts int)

	// AdminToken returns the live admin token, or console session, with this text.
	AdminToken(text string) (fsm.AdminToken, bool)
	// Alive returns why somebody may not act any more: their key, token or session has
	// ended. Their publishes and changes are judged again when they are committed.
	Alive(from fsm.Sender) error
	// KeyUsed notes that a key, or a token that it signed, is in use. It is cheap.
	KeyUsed(id string)
	// Staleness is the age of the last proof that this node was up to date.
	Staleness() time.Duration
	// Obstacle says in a line why this node is not up to date, and which nodes are missing.
	// It is empty while there is a leader, and before the node knows anything. A lasting one
	// stays until somebody acts.
	Obstacle() (reason string, lasting bool)
	// Stalled names the reason why this node makes no progress, such as a disk that hangs.
	// It is empty when the node does.
	Stalled() string
	// CatchUp returns once this node has applied everything that the cluster had
	// committed when it was called. Callers share rounds to the leader.
	CatchUp(ctx context.Context) error

	// ReadYourWrites returns once this node has applied every publish that it has
	// acknowledged. It seldom waits, and asks nobody.
	ReadYourWrites(ctx context.Context) error

	// Publish takes messages, in call order, without blocking, and keeps neither
	// batch nor payloads. done is called exactly once for each place in it, from another
	// goroutine, at the latest when the publish timeout has passed.
	Publish(batch []fsm.Publish, done func(i int, r fsm.Receipt, err error))

	// AddInterest asks the other nodes for the messages of memory channels. It calls then,
	// on another goroutine, once every reachable node sends the publishes to these
	// channels. It reports false, and does not call then, if there is nothing to wait for.
	// Server.HasSubscribers must report the channels before the call.
	AddInterest(channels []fsm.ChannelKey, then func()) bool
	// DropInterest says that a channel may have no subscribers here any more.
	DropInterest(channel fsm.ChannelKey)

	// MembersChanged says that the members that this node has may have changed.
	MembersChanged()
	// AwaitMembers calls then, on another goroutine, once every reachable node knows the
	// changes of this node's members up to a number. It reports false, and does not call then,
	// when there is nothing to wait for.
	AwaitMembers(number uint64, then func()) bool

	// Channel returns the bounds of a channel; one that was never published to
	// has head 0. It may read from disk.
	Channel(ctx context.Context, key fsm.ChannelKey) (fsm.ChannelInfo, error)
	// Read returns retained messages with an offset above after, oldest first, at
	// most maxMessages and maxBytes of payload, the first excepted. It may read
	// from disk.
	Read(ctx context.Context, key fsm.ChannelKey, after uint64, maxMessages, maxBytes int) (fsm.Page, error)
	// OffsetAt returns the offset of the first retained message stamped at or
	// after t (Unix ms), or head+1.
	OffsetAt(ctx context.Context, key fsm.ChannelKey, t int64) (uint64, error)

	admin.Operator
}

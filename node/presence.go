package node

import (
	"context"
	"errors"
	"time"

	"github.com/aptlyd/aptlyd/gateway"
)

var errStarting = errors.New("the node is still starting")

// MembersChanged implements gateway.Broker.
func (n *Node) MembersChanged() { n.exchange.Changed() }

// AwaitMembers implements gateway.Broker.
func (n *Node) AwaitMembers(number uint64, then func()) bool { return n.exchange.Await(number, then) }

// tellsMembers reports whether this node may tell others of its members. One that is cut off
// may not: the others may have ended what it still takes for its own.
func (n *Node) tellsMembers() bool { return n.Staleness() <= gateway.RefuseAfter }

// sendMembers sends a message of the exchange to a peer.
func (n *Node) sendMembers(ctx context.Context, peer string, message []byte) ([]byte, error) {
	return n.cluster.Send(ctx, peer, message)
}

// receiveMembers takes a message of the exchange, which may come while this node is still being
// built.
func (n *Node) receiveMembers(from string, message []byte) ([]byte, error) {
	select {
	case <-n.member:
		return n.exchange.Receive(from, message, time.Now())
	default:
		return nil, errStarting
	}
}

// updateMembers tells the exchange which nodes there are, and which of them the leader has not
// heard of for long.
func (n *Node) updateMembers(peers []string, silence map[string]time.Duration, known bool) {
	if !known {
		return
	}
	n.exchange.SetPeers(peers)
	n.gateway.Members().SetNodes(silence, time.Now())
}

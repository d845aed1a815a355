package cluster

import (
	"context"
	"errors"
	"net"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// Reach says which ports of a node answer this one; nil means that one does.
type Reach struct {
	Peer      error // the peer port, up to the proof of identity
	GossipTCP error
	GossipUDP error
}

// Reach tries the ports of another member, over connections of its own.
func (c *Cluster) Reach(ctx context.Context, member string) Reach {
	var r Reach
	conn, err := c.pool.Port.Dial(ctx, member, peer.PurposeRPC)
	if err == nil {
		err = conn.Close()
	}
	r.Peer = err
	n, ok := c.gossip.Find(member)
	if !ok {
		r.GossipTCP = errors.New("gossip has not heard of it")
		r.GossipUDP = r.GossipTCP
		return r
	}
	r.GossipTCP = dialOnce(ctx, n.Addr)
	r.GossipUDP = c.gossip.Ping(n)
	return r
}

func dialOnce(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

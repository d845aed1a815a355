package cluster

import (
	"context"
	"errors"
	"fmt"
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
	n, ok := c.gossip.find(member)
	if !ok {
		r.GossipTCP = errors.New("gossip has not heard of it")
		r.GossipUDP = r.GossipTCP
		return r
	}
	r.GossipTCP = dialOnce(ctx, n.gossip)
	r.GossipUDP = c.gossip.ping(n)
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

// ping sends a datagram and waits for the answer.
func (g *gossip) ping(n neighbour) error {
	address, err := net.ResolveUDPAddr("udp", n.gossip)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if _, err := g.list.Ping(gossipName(n.id, n.Start), address); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/internal/repeat"
)

// Reach says which ports of a node answer this one; nil means that one does.
type Reach struct {
	Peer      error // the peer port, up to the proof of identity
	GossipTCP error
	GossipUDP error
}

// Reach tries the ports of another member, over connections of its own.
func (c *Cluster) Reach(ctx context.Context, member string) Reach {
	r := Reach{Peer: c.reachPeer(ctx, member)}
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

// reachPeer connects to the peer port of a member, up to the proof of identity.
func (c *Cluster) reachPeer(ctx context.Context, member string) error {
	conn, err := c.port.Dial(ctx, member, peer.PurposeRPC)
	if err != nil {
		return err
	}
	return conn.Close()
}

func dialOnce(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Responsive returns nil once Raft's loop and the log of this node have answered, whether or not
// there is a leader.
func (c *Cluster) Responsive(ctx context.Context) error {
	if err := await(ctx, c.raft.VerifyLeader()); err != nil && ctx.Err() != nil {
		return fmt.Errorf("raft does not answer: %w", ctx.Err())
	}
	if _, err := c.logs.LastIndex(); err != nil {
		return fmt.Errorf("the log does not answer: %w", err)
	}
	return nil
}

const (
	probeInterval = time.Second
	// probeAfter is the age of a leader's last answer from which on the others are probed. It
	// is shorter than reachableFor, so that the results are there when the answer no longer
	// counts.
	probeAfter = time.Second
)

// probes are attempts to reach the other members' peer ports while no leader says who is there.
type probes struct {
	mu     sync.Mutex
	latest map[string]probe
}

// probe is what came of the attempts to reach one member.
type probe struct {
	reached bool      // at the last one
	heard   time.Time // when it was last reached; zero: not yet
}

// last returns the last probe of a member, if there was one since a leader was heard.
func (p *probes) last(member string) (probe, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.latest[member]
	return found, ok
}

func (p *probes) note(member string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.latest == nil {
		p.latest = make(map[string]probe)
	}
	found := p.latest[member]
	if found.reached = err == nil; found.reached {
		found.heard = time.Now()
	}
	p.latest[member] = found
}

// forget drops what was found: a leader knows better.
func (p *probes) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = nil
}

// probeMembers probes the other members once a second while there is no leader.
func (c *Cluster) probeMembers(ctx context.Context) {
	for range repeat.Every(ctx, probeInterval) {
		if _, at := c.fresh.lastView(); time.Since(at) < probeAfter {
			c.probes.forget()
			continue
		}
		var probing sync.WaitGroup
		for _, s := range c.others() {
			probing.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, probeInterval)
				defer cancel()
				c.probes.note(string(s.ID), c.reachPeer(ctx, string(s.ID)))
			})
		}
		probing.Wait()
	}
}

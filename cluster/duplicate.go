package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/internal/repeat"
)

// A copied data folder makes two processes of one node. Raft tells them apart no more than
// the other nodes do, so votes and acknowledgements of one would count as the other's. A
// copy is found at its start if the original answers at the address noted in the folder,
// else by gossip: then the process that the leader does not replicate to ends.

const (
	// duplicateTimeout bounds one try to reach this node's id at another address.
	duplicateTimeout = 2 * time.Second
	// duplicateInterval is the pause in which a node without a leader looks for a duplicate.
	duplicateInterval = 500 * time.Millisecond
	// duplicateGrace is the wait of a node with a duplicate for the leader. Of two that
	// wait, the one with the lower address waits longer, so that they do not both end.
	duplicateGrace     = 3 * time.Second
	duplicateLongGrace = 10 * time.Second
)

// refuseDuplicate returns ErrDuplicateNode if this node still answers at the address that its
// data folder notes. It runs before any other node can hear of this process.
func (c *Cluster) refuseDuplicate() error {
	return c.dialDuplicate(c.ctx, c.identity.read().Peers[c.id].Peer)
}

// findDuplicate returns ErrDuplicateNode if this node's id answers at another address of
// which gossip tells.
func (c *Cluster) findDuplicate(ctx context.Context) error {
	for _, address := range c.gossip.OwnAddresses() {
		if err := c.dialDuplicate(ctx, address); err != nil {
			return err
		}
	}
	return nil
}

// dialDuplicate returns ErrDuplicateNode if another process answers at address with this
// node's id.
func (c *Cluster) dialDuplicate(ctx context.Context, address string) error {
	if address == "" || address == c.peerAddress {
		return nil
	}
	outsider := peer.NewPort(nil, c.port.Preauth, c.port.Probe, c.log)
	defer outsider.Stop()
	outsider.Cluster = func() uuid.UUID { return uuid.Nil }
	outsider.Resolve = func(string) (string, error) { return address, nil }
	ctx, cancel := context.WithTimeout(ctx, duplicateTimeout)
	defer cancel()
	conn, err := outsider.Dial(ctx, c.id, peer.PurposeRPC)
	if err != nil {
		return nil // nothing answers, or another node, or this process itself
	}
	return errors.Join(fmt.Errorf("%w, at %s", ErrDuplicateNode, address), conn.Close())
}

// watchDuplicates ends this node, until ctx ends, if it is the duplicate that is not in step:
// it knows no leader while another member does.
func (c *Cluster) watchDuplicates(ctx context.Context) {
	var since time.Time // when a duplicate was found; zero: none
	for range repeat.Every(ctx, duplicateInterval) {
		duplicate := c.outOfStep(ctx)
		switch {
		case duplicate == nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			c.log.Warn("this node also runs elsewhere; the process that the leader does not reach will end", "err", duplicate)
		case time.Since(since) >= c.duplicateGrace():
			c.endDuplicate(duplicate)
			return
		}
	}
}

// outOfStep returns ErrDuplicateNode if this node has a duplicate and is cut off from a
// leader that another member knows.
func (c *Cluster) outOfStep(ctx context.Context) error {
	if _, leader := c.raft.LeaderWithID(); leader != "" || len(c.gossip.OwnAddresses()) == 0 {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, freshnessTimeout)
	defer cancel()
	if err := c.askMembership(asking); err != nil {
		return nil
	}
	return c.findDuplicate(ctx)
}

// duplicateGrace returns how long this process waits for the leader.
func (c *Cluster) duplicateGrace() time.Duration {
	for _, address := range c.gossip.OwnAddresses() {
		if c.peerAddress < address {
			return duplicateLongGrace
		}
	}
	return duplicateGrace
}

// endDuplicate refuses a node that is not ready, and stops one that is.
func (c *Cluster) endDuplicate(duplicate error) {
	c.refuse(duplicate)
	select {
	case <-c.ready:
		if c.readyErr == nil {
			c.cfg.Fatal(duplicate)
		}
	case <-c.ctx.Done():
	}
}

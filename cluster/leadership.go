package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/internal/repeat"
)

const (
	barrierTimeout = 5 * time.Second
	verifyTimeout  = 2 * time.Second
	leaderInterval = 500 * time.Millisecond
)

// watchLeadership leads while Raft says that this node does.
func (c *Cluster) watchLeadership(ctx context.Context, notify <-chan bool) {
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case leading := <-notify:
			stop()
			stop = func() {}
			if leading {
				term, cancel := context.WithCancel(ctx)
				var running sync.WaitGroup
				running.Go(func() { c.lead(term) })
				stop = func() {
					cancel()
					running.Wait()
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// lead does the work of a leader until ctx ends.
func (c *Cluster) lead(ctx context.Context) {
	last, viewed := c.fresh.lastView()
	c.health.begin(c.memberIDs(), last, viewed, time.Now())
	defer c.health.end()
	defer c.leaderReady.Store(false)
	c.log.Info("leading the cluster", "term", c.raft.CurrentTerm())
	var running sync.WaitGroup
	running.Go(func() { c.proposer.lead(ctx, c.establishLeadership) })
	c.leaderLoop(ctx)
	running.Wait()
	c.log.Info("no longer leading the cluster")
}

// establishLeadership returns once everything that was committed before this term is
// applied here, and a stamp of this term. Until then this node knows neither where the
// log stands nor what its last stamp is, and no node may take itself for fresh whose
// last stamp is as old as the time without a leader was long.
func (c *Cluster) establishLeadership(ctx context.Context) error {
	err := whileLeading(ctx, func() raft.Future { return c.raft.Barrier(barrierTimeout) })
	if err != nil {
		return err
	}
	c.setClock(ctx)
	err = whileLeading(ctx, func() raft.Future {
		stamp := max(c.proposer.machine.Stamp(), c.clock.millis())
		return c.raft.Apply(encodeEntry(stamp, nil), enqueueTimeout)
	})
	if err != nil {
		return err
	}
	c.leaderReady.Store(true)
	return nil
}

// whileLeading asks Raft for something until it is done or this node leads no more.
func whileLeading(ctx context.Context, ask func() raft.Future) error {
	for {
		err := await(ctx, ask())
		if err == nil || ctx.Err() != nil || errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) {
			return err
		}
		select {
		case <-time.After(reconnectPause):
		case <-ctx.Done():
		}
	}
}

// leaderLoop does the periodic work of a leader.
func (c *Cluster) leaderLoop(ctx context.Context) {
	for range repeat.Every(ctx, leaderInterval) {
		if !c.leaderReady.Load() {
			continue
		}
		c.health.note(c.id, c.report(), time.Now())
		if err := c.tendMembers(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("members could not be tended", "err", err)
		}
		if err := c.yieldToFasterDisk(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("this node should not lead", "err", err)
		}
		if err := c.trustClock(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("this node should not lead", "err", err)
		}
	}
}

// readIndex returns an index at or above everything committed so far, provided
// that this node still leads. It is the commit index, since followers may have
// applied more than the leader has. Concurrent callers share one proof.
func (c *Cluster) readIndex() (uint64, error) {
	if !c.leaderReady.Load() {
		return 0, ErrNotLeader
	}
	index := c.applier.reach(c.logs.Bound(c.raft.CommitIndex()))
	ctx, cancel := context.WithTimeout(c.ctx, verifyTimeout)
	defer cancel()
	if err := await(ctx, c.raft.VerifyLeader()); err != nil {
		return 0, fmt.Errorf("%w: verify leadership: %w", ErrNotLeader, err)
	}
	return index, nil
}

// report returns this node's report to the leader.
func (c *Cluster) report() report {
	index, _ := c.applier.progress()
	extra := c.cfg.Extra()
	if len(extra) > maxExtraBytes {
		extra = extra[:maxExtraBytes]
	}
	return report{
		Applied: index,
		Extra:   extra,
		Clock:   wallMillis(),
		Stalled: c.Stalled() != "",
		Sync:    c.logs.Pace.Median(time.Now()).Microseconds(),
	}
}

// handleReadIndex tells a member where the log stands.
func (c *Cluster) handleReadIndex(ctx context.Context, from string, what report) (view, error) {
	// Only a proven leader knows the members: a node that hears often enough that it is
	// none will stop.
	index, err := c.readIndexes.do(ctx)
	if err != nil {
		return view{}, err
	}
	if !c.isMember(from) {
		return view{}, ErrNotMember
	}
	now := time.Now()
	c.health.note(from, what, now)
	return view{Index: index, Nodes: c.health.view(now), Led: c.health.led(now).Milliseconds()}, nil
}

// askReadIndex asks the leader, which may be this node.
func (c *Cluster) askReadIndex(ctx context.Context) (view, error) {
	_, leader := c.raft.LeaderWithID()
	switch string(leader) {
	case "":
		return view{}, fmt.Errorf("%w: no leader is known", ErrUnavailable)
	case c.id:
		return c.handleReadIndex(ctx, c.id, c.report())
	}
	return request[view](ctx, c.pool, string(leader), peer.MethodReadIndex, c.report())
}

// await waits for one of Raft's futures. One that is left in Raft's queue at
// shutdown never resolves, which is why its waiter may stay behind.
func await(ctx context.Context, future raft.Future) error {
	resolved := make(chan error, 1)
	go func() { resolved <- future.Error() }()
	select {
	case err := <-resolved:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

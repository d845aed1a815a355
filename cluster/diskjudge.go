package cluster

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// slowSync is the least time of a slow leader's write, and
	// slowFactor how many times as long as a follower's.
	slowSync   = 20 * time.Millisecond
	slowFactor = 4
	// slowLooks counts the looks in a row, leaderInterval apart, at which a leader must be
	// slow before it hands over, and slowRest how long it does not do so again.
	slowLooks = 10
	slowRest  = 5 * time.Minute
)

// diskJudge decides when a leader's disk is too slow to lead. It is for one
// goroutine.
type diskJudge struct {
	looks   int       // in a row with a faster node
	yielded time.Time // when leadership was handed over last
}

// look compares a leader's pace with those of the nodes that could lead instead and
// returns the fastest of these once leadership should go there, "" otherwise.
func (j *diskJudge) look(now time.Time, own time.Duration, others map[string]time.Duration) (to string) {
	var fastest time.Duration
	for node, pace := range others {
		if pace > 0 && (to == "" || cmp.Or(cmp.Compare(pace, fastest), cmp.Compare(node, to)) < 0) {
			to, fastest = node, pace
		}
	}
	if to == "" || own < slowSync || own < slowFactor*fastest {
		j.looks = 0
		return ""
	}
	j.looks++
	if j.looks < slowLooks || !j.yielded.IsZero() && now.Sub(j.yielded) < slowRest {
		return ""
	}
	j.looks, j.yielded = 0, now
	return to
}

// yieldToFasterDisk hands leadership over when this node's disk is several times
// slower than that of a voter that has caught up: the leader's own write is part of
// each acknowledgement, a slow follower's is not while the others are a majority.
func (c *Cluster) yieldToFasterDisk(ctx context.Context) error {
	now := time.Now()
	own := c.logs.Pace.Median(now)
	consumed, _ := c.applier.progress()
	others := make(map[string]time.Duration)
	for node, what := range c.successors(now) {
		if what.Applied+caughtUpWithin >= consumed {
			others[node] = time.Duration(what.Sync) * time.Microsecond
		}
	}
	to := c.disk.look(now, own, others)
	if to == "" {
		return nil
	}
	c.log.Warn("this node's disk is slow: leadership goes to a faster one",
		"sync", own, "to", c.directory.name(to), "its-sync", others[to])
	if err := await(ctx, c.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to))); err != nil {
		return fmt.Errorf("hand leadership over to a faster disk: %w", err)
	}
	return nil
}

package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// maxClockSkew is how far a leader's clock may be off the median of all.
// Time is what messages and keys expire by, and stamps never go back: a leader a
// day ahead would expire everything for good.
const maxClockSkew = 5 * time.Second

// trustClock hands leadership over when this node's clock is off. At least two
// others have to be heard of: of two nodes neither can say which one is wrong.
func (c *Cluster) trustClock(ctx context.Context) error {
	now := time.Now()
	skew, ok := clockSkew(c.roster.view(now), c.id, now)
	if last, at := c.fresh.lastView(); !ok && now.Sub(at) < 10*time.Second {
		skew, ok = clockSkew(last.Nodes, c.id, at)
	}
	if !ok || skew.Abs() <= maxClockSkew {
		c.clock.set(now)
		return nil
	}
	err := fmt.Errorf("its clock is %s off the nodes' median", skew.Round(time.Millisecond))
	if transfer := c.TransferLeadership(ctx); transfer != nil {
		return fmt.Errorf("%w, and leadership could not be handed over: %w", err, transfer)
	}
	return err
}

// steadyClock is the wall clock as of when nobody contradicted it, and what has
// passed since by the monotonic one. A leader stamps by it: should somebody set the
// wall clock a day ahead, the others are asked before anything is stamped so.
type steadyClock struct{ last atomic.Pointer[reading] }

// reading is what the wall clock said, in Unix ms.
type reading struct {
	at   time.Time
	wall int64
}

func (c *steadyClock) set(now time.Time) { c.last.Store(&reading{now, wallMillis(now)}) }

func (c *steadyClock) millis(now time.Time) int64 {
	r := c.last.Load()
	if r == nil {
		return wallMillis(now)
	}
	return r.wall + now.Sub(r.at).Milliseconds()
}

// clockSkew is how far this node's clock is ahead of the median of all clocks, its
// own among them: with three nodes, one that is off must not make the other two
// distrust themselves. Of two medians the nearer counts.
func clockSkew(nodes map[string]leaderHeard, self string, now time.Time) (time.Duration, bool) {
	offsets := []int64{0} // its own
	for node, h := range nodes {
		if node == self || h.Silent || time.Duration(h.Age)*time.Millisecond > reachableFor {
			continue
		}
		offsets = append(offsets, wallMillis(now)-(h.Clock+h.Age))
	}
	if len(offsets) < 3 {
		return 0, false
	}
	slices.Sort(offsets)
	lower, upper := offsets[(len(offsets)-1)/2], offsets[len(offsets)/2]
	return time.Duration(max(lower, min(upper, 0))) * time.Millisecond, true
}

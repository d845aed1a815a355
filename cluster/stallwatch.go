package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/watchdog"
	"github.com/aptlyd/aptlyd/internal/repeat"
)

const (
	// stallPatience times the limit is the longest stall that is borne.
	stallPatience = 4
	stallInterval = 250 * time.Millisecond
	// stallRest is the pause before a stalled leader tries again to hand
	// leadership over.
	stallRest = 5 * time.Second
)

// StallWatch watches the steps by which the machine gets on: applying an entry and
// writing the state. A step that exceeds the limit makes the node a stalled one,
// which does not lead and is not ready; one that exceeds four times the limit ends
// the node. A nil StallWatch watches nothing.
type StallWatch struct{ dog *watchdog.Watchdog }

// NewStallWatch returns a StallWatch that calls fatal, which must not return, when a
// stall does not end. Close ends it.
func NewStallWatch(limit time.Duration, fatal func(error)) *StallWatch {
	return &StallWatch{watchdog.NewWithTicks(stallPatience*limit, stallPatience*watchdog.Ticks,
		func(what string, limit time.Duration) {
			fatal(fmt.Errorf("%s did not finish within %s: the disk hangs", what, limit))
		})}
}

// Watch begins to watch a step; done ends it.
func (w *StallWatch) Watch(what string) (done func()) {
	if w == nil {
		return func() {}
	}
	return w.dog.Watch(what)
}

// Stalled names the step that exceeds the limit, "" when none does.
func (w *StallWatch) Stalled() string {
	if w == nil {
		return ""
	}
	what, lasted := w.dog.Overdue(watchdog.Ticks)
	if what == "" {
		return ""
	}
	return fmt.Sprintf("%s has not finished for %s", what, lasted)
}

// Close ends the watch.
func (w *StallWatch) Close() error {
	w.dog.Close()
	return nil
}

// yieldWhenStalled hands leadership over while this node is stalled: a leader that
// does not apply acknowledges nothing. Raft itself would let it lead, since
// heartbeats need neither its disk nor its state.
func (c *Cluster) yieldWhenStalled(ctx context.Context) {
	stalled := false
	var tried time.Time
	for range repeat.Every(ctx, stallInterval) {
		what := c.cfg.Stalls.Stalled()
		if stalled != (what != "") {
			if stalled = !stalled; stalled {
				c.log.Warn("this node is stalled and should not lead", "reason", what)
			} else {
				c.log.Info("this node is no longer stalled")
			}
		}
		if !stalled || c.raft.State() != raft.Leader || time.Since(tried) < stallRest {
			continue
		}
		tried = time.Now()
		if err := c.TransferLeadership(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("a stalled leader could not hand leadership over", "err", err)
		}
	}
}

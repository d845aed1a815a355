package gateway

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/gateway/protocol"
)

// When a node drains, each client has a place in a spread of some seconds. One that
// announced goaway is told its place at once, connects elsewhere when it has come, and
// leaves by itself. It is closed only when it is still there some patience later. The
// others are closed at their place, and connect again.

const (
	drainPace = 25 * time.Millisecond
	// drainPatience bounds the stay of a client that was told to go beyond its place.
	drainPatience = 2 * time.Second
	// drainReserve is left after the last place for closes to be answered.
	drainReserve = 500 * time.Millisecond
)

// drainPlan says how a node drains, as of one round.
type drainPlan struct {
	left      time.Duration // until the spread ends
	patience  time.Duration
	lingering bool
	newest    uint64   // the last connection that has a place yet
	endpoints []string // of the other nodes
}

// departure holds the time at which a connection is closed.
type departure struct {
	conn *conn
	at   time.Duration // since the loop began
}

// Drain makes the node not ready, refuses new clients, and has those that are
// connected go elsewhere, a few at a time. It returns when all have gone or ctx is
// done.
func (s *Server) Drain(ctx context.Context) error {
	s.Unready()
	begun, linger := time.Now(), s.cfg.DrainLinger
	if s.ConnectionCount() == 0 {
		linger = 0 // nobody is there to come back
	}
	spread, patience := s.cfg.DrainSpread, drainPatience
	if deadline, bounded := ctx.Deadline(); bounded {
		// Leave time for clients to answer and for publishes to be acknowledged.
		left := time.Until(deadline)
		patience = min(patience, left/4)
		spread = min(spread, max(left-patience-drainReserve, left/4))
		linger = min(linger, left/2)
	}
	ticker := time.NewTicker(drainPace)
	defer ticker.Stop()
	for {
		passed := time.Since(begun)
		plan := drainPlan{
			left: max(spread-passed, 0), patience: patience, lingering: passed < linger,
			newest: math.MaxUint64, endpoints: s.cfg.Broker.Endpoints(),
		}
		if s.ConnectionCount() == 0 && !plan.lingering {
			return nil
		}
		if plan.lingering {
			plan.newest = s.lastReady.Load()
		}
		s.onLoops(func(l *loop) { l.drain(plan) })
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("drain clients: %w", ctx.Err())
		}
	}
}

// drain gives each connection a time to leave, and closes those whose time has come. It
// skips connections that were refused for good: they are about to be closed, and must
// not be asked back.
func (l *loop) drain(plan drainPlan) {
	var unplaced []*conn
	for _, c := range l.conns {
		// A client that has not authenticated may still announce something.
		waits := c.state == stateNew && plan.lingering
		if !c.departs && c.state < stateRefused && c.id <= plan.newest && !waits {
			unplaced = append(unplaced, c)
		}
	}
	for i, c := range unplaced {
		c.departs = true
		start := plan.left * time.Duration(i) / time.Duration(len(unplaced))
		end := start
		if c.state == stateOpen && c.knows(protocol.FeatureGoAway) {
			end += plan.patience
			c.goAway(start, end, rotate(plan.endpoints, i))
		}
		l.departures = append(l.departures, departure{c, l.now + end})
	}
	if len(unplaced) > 0 {
		slices.SortStableFunc(l.departures, func(a, b departure) int { return cmp.Compare(a.at, b.at) })
	}
	due := 0
	for due < len(l.departures) && l.departures[due].at <= l.now {
		if c := l.departures[due].conn; c.state < stateRefused {
			c.drain()
		}
		due++
	}
	l.departures = slices.Delete(l.departures, 0, due)
}

// rotate returns list from its nth element on, so that clients told one after the
// other go to different nodes.
func rotate(list []string, n int) []string {
	if len(list) == 0 {
		return nil
	}
	n %= len(list)
	return slices.Concat(list[n:], list[:n])
}

// goAway tells the client when to connect elsewhere and when it is closed.
func (c *conn) goAway(start, end time.Duration, endpoints []string) {
	if c.stream != nil {
		c.sayHead()
	}
	c.out.urgent = protocol.AppendGoAway(c.out.urgent, c.encoding, start, end, endpoints)
	c.loop.touch(c)
}

// drain closes the connection once its publishes are answered.
func (c *conn) drain() {
	c.draining = true
	if c.stream.answerNow(c) {
		return
	}
	if len(c.pending) == 0 {
		c.close(closeRestart, "node is draining")
	}
}

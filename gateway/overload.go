package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// lag measures how late an event loop is, which turns ten times a second at least. A
// late loop refuses new clients first and health checks last.
type lag struct {
	began atomic.Int64 // when the turn under way began, in ns since the loop did
	last  atomic.Int64 // ns from the beginning of the turn before to that of this one
}

// unhealthyAfter is the lag from which on load balancers are told.
const unhealthyAfter = 10 * time.Second

// turn notes that a turn begins.
func (g *lag) turn(now time.Duration) {
	g.last.Store(int64(now) - g.began.Swap(int64(now)))
}

// of returns how late a loop is that began at a time.
func (g *lag) of(began time.Time) time.Duration {
	return max(time.Since(began)-time.Duration(g.began.Load()), time.Duration(g.last.Load()))
}

// lag returns how late the latest loop is.
func (s *Server) lag() time.Duration {
	var most time.Duration
	for _, l := range s.loops {
		most = max(most, l.lag.of(l.began))
	}
	return most
}

// Responsive returns nil once every event loop has taken its turn.
func (s *Server) Responsive(ctx context.Context) error {
	turns := make(chan struct{}, len(s.loops))
	for _, l := range s.loops {
		if !l.mail.post(func() { turns <- struct{}{} }) {
			return errors.New("an event loop has ended")
		}
	}
	for range s.loops {
		select {
		case <-turns:
		case <-ctx.Done():
			return fmt.Errorf("an event loop does not turn: %w", ctx.Err())
		}
	}
	return nil
}

// overloaded returns a refusal of new work when a loop is too late already.
func (s *Server) overloaded() *refusal.Error {
	if late := s.lag(); late > s.cfg.OverloadAfter {
		return &refusal.Error{
			Code: refusal.RateLimited, Reason: "the node is overloaded", RetryAfter: time.Second,
			Detail: "the node is overloaded: an event loop is late by " + late.Round(time.Millisecond).String(),
		}
	}
	return nil
}

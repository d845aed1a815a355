package node

import (
	"context"
	"errors"
	"fmt"
)

// Serving reports whether the node was opened to clients and is not about to stop.
func (n *Node) Serving() bool { return n.gateway.Serving() }

// Responsive returns nil once the event loops, the state, Raft and its log have answered. An error
// says which of them had not when ctx ended. It asks no other node.
func (n *Node) Responsive(ctx context.Context) error {
	if what := n.stalls.Stalled(); what != "" {
		return errors.New(what)
	}
	if err := n.gateway.Responsive(ctx); err != nil {
		return err
	}
	applied := make(chan struct{})
	go func() {
		n.state.Applied()
		close(applied)
	}()
	select {
	case <-applied:
	case <-ctx.Done():
		return fmt.Errorf("the state does not answer: %w", ctx.Err())
	}
	return n.cluster.Responsive(ctx)
}

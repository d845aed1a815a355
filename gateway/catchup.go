package gateway

import (
	"context"
	"sync"
	"time"
)

// catchUps shares rounds to the leader: whoever asks while a round is under way
// waits for the next one, which serves all who asked before it began. However
// many wait, one goroutine does.
type catchUps struct {
	broker  Broker
	timeout time.Duration

	mu      sync.Mutex
	running bool
	closed  bool
	waiting []func(error)
	done    sync.WaitGroup
}

// join calls then, from another goroutine, once the node has caught up with
// what the cluster had committed when join was called. After close it calls
// then at once with an error.
func (c *catchUps) join(ctx context.Context, then func(error)) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		then(context.Canceled)
		return
	}
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, then)
	if !c.running {
		c.running = true
		c.done.Go(func() { c.run(ctx) })
	}
}

// close waits for the round under way, which ends with its context.
func (c *catchUps) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.done.Wait()
}

func (c *catchUps) run(ctx context.Context) {
	for {
		c.mu.Lock()
		round := c.waiting
		c.waiting = nil
		if len(round) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		err := c.round(ctx)
		for _, then := range round {
			then(err)
		}
	}
}

func (c *catchUps) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.broker.CatchUp(ctx)
}

// wait is join for callers that may block.
func (c *catchUps) wait(ctx, rounds context.Context) error {
	result := make(chan error, 1)
	c.join(rounds, func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

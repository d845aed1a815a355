package cluster

import (
	"context"
	"sync"
)

// coalescer lets many callers share an answer that takes a while to get. A caller
// never gets the answer of a round that began before its call.
type coalescer[T any] struct {
	run     func() (T, error)
	running sync.WaitGroup

	mu   sync.Mutex
	next *coalesced[T] // not begun yet
	busy bool
}

type coalesced[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// do waits for the next round, or until ctx ends.
func (r *coalescer[T]) do(ctx context.Context) (T, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &coalesced[T]{done: make(chan struct{})}
	}
	mine := r.next
	if !r.busy {
		r.busy = true
		r.running.Go(r.loop)
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (r *coalescer[T]) loop() {
	for {
		r.mu.Lock()
		mine := r.next
		r.next = nil
		if mine == nil {
			r.busy = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		mine.value, mine.err = r.run()
		close(mine.done)
	}
}

// wait returns when no round is under way. It is called after the last
// call of do.
func (r *coalescer[T]) wait() { r.running.Wait() }

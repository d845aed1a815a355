// Package watchdog reports operations that take too long. It does not know what they do.
package watchdog

import (
	"sync"
	"time"
)

// Watchdog reports operations that take too long. One is a write to the log or the state:
// a leader whose disk hangs would lead for ever, since heartbeats need no disk. Another is
// the next bytes of a snapshot, for which all of Raft waits.
//
// Time is counted in ticks of the watchdog's own timer, so that a process that
// was stopped for a while does not take itself for one with a slow disk.
type Watchdog struct {
	limit   int // ticks
	every   time.Duration
	stalled func(what string, limit time.Duration)
	stopped chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	watches map[*watch]struct{}
}

// watch is an operation that should end soon.
type watch struct {
	what  string
	ticks int
}

// Ticks is the number of ticks to the limit.
const Ticks = 10

// New returns a Watchdog that calls stalled once for each operation longer than limit.
func New(limit time.Duration, stalled func(what string, limit time.Duration)) *Watchdog {
	return NewWithTicks(limit, Ticks, stalled)
}

// NewWithTicks is New with a given number of ticks to the limit.
func NewWithTicks(limit time.Duration, ticks int, stalled func(what string, limit time.Duration)) *Watchdog {
	w := &Watchdog{
		limit:   ticks,
		every:   limit / time.Duration(ticks),
		stalled: stalled,
		stopped: make(chan struct{}),
		watches: make(map[*watch]struct{}),
	}
	w.running.Go(w.run)
	return w
}

// Watch begins to watch an operation; the function it returns ends the watch.
func (w *Watchdog) Watch(what string) (done func()) {
	one := &watch{what: what}
	w.mu.Lock()
	w.watches[one] = struct{}{}
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		delete(w.watches, one)
		w.mu.Unlock()
	}
}

func (w *Watchdog) run() {
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			for _, what := range w.tick() {
				w.stalled(what, w.every*time.Duration(w.limit))
			}
		case <-w.stopped:
			return
		}
	}
}

// tick counts one tick against every watch. It ends those that have had too many, and
// returns their names.
func (w *Watchdog) tick() (stalled []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.watches {
		one.ticks++
		if one.ticks > w.limit {
			stalled = append(stalled, one.what)
			delete(w.watches, one)
		}
	}
	return stalled
}

// Overdue names the operation that has lasted longest, and for how long, if that exceeds a
// number of ticks.
func (w *Watchdog) Overdue(ticks int) (what string, lasted time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.watches {
		if one.ticks > ticks {
			what, ticks = one.what, one.ticks
			lasted = w.every * time.Duration(ticks)
		}
	}
	return what, lasted
}

// Close ends the watch over everything.
func (w *Watchdog) Close() {
	close(w.stopped)
	w.running.Wait()
}

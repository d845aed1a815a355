// Package watchdog reports what takes too long. It knows nothing of what it watches.
package watchdog

import (
	"sync"
	"time"
)

// Watchdog calls for help when something takes too long: a write to the log or
// the state, since a leader whose disk hangs would otherwise lead for ever, its
// heartbeats needing no disk; or the next bytes of a snapshot, for which all of
// Raft waits.
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

// watch is something that is to end soon.
type watch struct {
	what  string
	ticks int
}

// Ticks is how finely a stall is measured.
const Ticks = 10

// New has stalled called, once, of whatever takes longer than limit.
func New(limit time.Duration, stalled func(what string, limit time.Duration)) *Watchdog {
	return NewWithTicks(limit, Ticks, stalled)
}

// NewWithTicks is New with so many ticks to the limit.
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

// Watch begins a vigil; the function it returns ends it.
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

// tick counts one tick against every vigil and ends and names those that have
// had too many.
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

// Overdue names what has lasted longest, and for how long, if that is more than so
// many ticks.
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

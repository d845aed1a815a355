package cluster

import (
	"sync"
	"time"
)

// watchdog calls for help when something takes too long: a write to the log or
// the state, since a leader whose disk hangs would otherwise lead for ever, its
// heartbeats needing no disk; or the next bytes of a snapshot, for which all of
// Raft waits.
//
// Time is counted in ticks of the watchdog's own timer, so that a process that
// was stopped for a while does not take itself for one with a slow disk.
type watchdog struct {
	limit   int // ticks
	every   time.Duration
	stalled func(what string, limit time.Duration)
	stopped chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	vigils map[*vigil]struct{}
}

// vigil is something that is to end soon.
type vigil struct {
	what  string
	ticks int
}

// watchdogTicks is how finely a stall is measured.
const watchdogTicks = 10

// newWatchdog has stalled called, once, of whatever takes longer than limit.
func newWatchdog(limit time.Duration, stalled func(what string, limit time.Duration)) *watchdog {
	return newFineWatchdog(limit, watchdogTicks, stalled)
}

// newFineWatchdog is newWatchdog with so many ticks to the limit.
func newFineWatchdog(limit time.Duration, ticks int, stalled func(what string, limit time.Duration)) *watchdog {
	w := &watchdog{
		limit:   ticks,
		every:   limit / time.Duration(ticks),
		stalled: stalled,
		stopped: make(chan struct{}),
		vigils:  make(map[*vigil]struct{}),
	}
	w.running.Go(w.run)
	return w
}

// watch begins a vigil; the function it returns ends it.
func (w *watchdog) watch(what string) (done func()) {
	one := &vigil{what: what}
	w.mu.Lock()
	w.vigils[one] = struct{}{}
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		delete(w.vigils, one)
		w.mu.Unlock()
	}
}

func (w *watchdog) run() {
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
func (w *watchdog) tick() (stalled []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.vigils {
		one.ticks++
		if one.ticks > w.limit {
			stalled = append(stalled, one.what)
			delete(w.vigils, one)
		}
	}
	return stalled
}

// overdue names what has lasted longest, and for how long, if that is more than so
// many ticks.
func (w *watchdog) overdue(ticks int) (what string, lasted time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.vigils {
		if one.ticks > ticks {
			what, ticks = one.what, one.ticks
			lasted = w.every * time.Duration(ticks)
		}
	}
	return what, lasted
}

func (w *watchdog) close() {
	close(w.stopped)
	w.running.Wait()
}

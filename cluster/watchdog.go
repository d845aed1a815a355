package cluster

import (
	"fmt"
	"sync"
	"time"
)

// watchdog gives the node up when one write takes too long. A leader whose disk
// hangs would otherwise lead for ever, because its heartbeats need no disk.
//
// Time is counted in ticks of the watchdog's own timer, so that a process that
// was stopped for a while does not take itself for one with a slow disk.
type watchdog struct {
	limit   int // ticks
	every   time.Duration
	fatal   func(error)
	stopped chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	writes map[*write]struct{}
}

// write is one outstanding write.
type write struct {
	what  string
	ticks int
}

// watchdogTicks is how finely a stall is measured.
const watchdogTicks = 10

func newWatchdog(limit time.Duration, fatal func(error)) *watchdog {
	w := &watchdog{
		limit:   watchdogTicks,
		every:   limit / watchdogTicks,
		fatal:   fatal,
		stopped: make(chan struct{}),
		writes:  make(map[*write]struct{}),
	}
	w.running.Go(w.run)
	return w
}

// watch begins a write; the function it returns ends it.
func (w *watchdog) watch(what string) (done func()) {
	one := &write{what: what}
	w.mu.Lock()
	w.writes[one] = struct{}{}
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		delete(w.writes, one)
		w.mu.Unlock()
	}
}

func (w *watchdog) run() {
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if stalled := w.tick(); stalled != "" {
				w.fatal(fmt.Errorf("%s did not finish within %s: the disk hangs", stalled, w.every*watchdogTicks))
				return
			}
		case <-w.stopped:
			return
		}
	}
}

// tick counts one tick against every outstanding write and names one that has
// had too many.
func (w *watchdog) tick() (stalled string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.writes {
		one.ticks++
		if one.ticks > w.limit {
			return one.what
		}
	}
	return ""
}

func (w *watchdog) close() {
	close(w.stopped)
	w.running.Wait()
}

package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/internal/repeat"
)

// pauseDetector knows whether the process was stopped for a while. Until the node has
// proved that it knows of every key that ended meanwhile, nothing of a client is looked
// at and nothing is delivered. The event loops turn ten times a second, and so does a
// goroutine that does nothing else: loops that are all busy are no stopped process.
type pauseDetector struct {
	began    time.Time
	lastTurn atomic.Int64 // of any loop or of observe, in ns since began
	wokeAt   atomic.Int64 // when the process went on, in ns since began; 0 once it has proved itself
}

// pauseAfter is the time without a turn after which the process counts as stopped.
const pauseAfter = time.Second

// observe turns until ctx ends, however busy the loops are.
func (f *pauseDetector) observe(ctx context.Context) {
	for range repeat.Every(ctx, pauseAfter/10) {
		f.turn()
	}
}

// turn notes that the process runs. It notes a stop before that, so that a reader who
// sees the one sees the other.
func (f *pauseDetector) turn() {
	now := int64(time.Since(f.began))
	if last := f.lastTurn.Load(); last != 0 && now-last > int64(pauseAfter) {
		f.wokeAt.Store(now)
	}
	f.lastTurn.Store(now)
}

// paused reports whether the process was stopped and has not yet heard from its
// cluster. staleness is the age of the last proof.
func (f *pauseDetector) paused(staleness func() time.Duration) bool {
	now := int64(time.Since(f.began))
	if last := f.lastTurn.Load(); last != 0 && now-last > int64(pauseAfter) {
		return true // about to be noticed
	}
	woke := f.wokeAt.Load()
	if woke == 0 {
		return false
	}
	if staleness() >= time.Duration(now-woke) {
		return true
	}
	f.wokeAt.CompareAndSwap(woke, 0)
	return false
}

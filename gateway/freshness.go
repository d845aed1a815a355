package gateway

import (
	"sync/atomic"
	"time"
)

// freshness knows whether the process was stopped for a while and has since
// proved that it knows of every key that ended meanwhile. Until then nothing
// that a client sent is looked at and nothing is delivered. The event loops, which
// turn ten times a second, are what tells that time went by without the process.
type freshness struct {
	began    time.Time
	lastTurn atomic.Int64 // of any loop, in ns since began
	wokeAt   atomic.Int64 // when the process went on, in ns since began; 0 once it has proved itself
}

// pauseAfter is how long no loop turns before the process counts as stopped.
const pauseAfter = time.Second

// turn notes that a loop turns.
func (f *freshness) turn() {
	now := int64(time.Since(f.began))
	if last := f.lastTurn.Swap(now); last != 0 && now-last > int64(pauseAfter) {
		f.wokeAt.Store(now)
	}
}

// paused reports whether the process was stopped and has not yet heard from its
// cluster. staleness is the age of the last proof.
func (f *freshness) paused(staleness func() time.Duration) bool {
	now := int64(time.Since(f.began))
	if last := f.lastTurn.Load(); last != 0 && now-last > int64(pauseAfter) {
		return true // a loop is about to notice
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

package logbridge

import (
	"sync"
	"time"
)

const (
	throttleWindow = 10 * time.Second
	throttleKinds  = 16
)

// Throttle bounds the log lines that others can cause: one of each kind in a while, and a
// number of kinds.
type Throttle struct {
	mu    sync.Mutex
	until time.Time // end of the window
	kinds map[string]bool
	muted int
}

// Pass reports whether a line may be written, and if so how many were not since
// the last window began.
func (t *Throttle) Pass(kind string, now time.Time) (muted int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.After(t.until) {
		muted, t.muted = t.muted, 0
		t.until, t.kinds = now.Add(throttleWindow), make(map[string]bool)
	}
	if t.kinds[kind] || len(t.kinds) == throttleKinds {
		t.muted++
		return 0, false
	}
	t.kinds[kind] = true
	return muted, true
}

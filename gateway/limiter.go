package gateway

import (
	"sync"
	"time"
)

// limiter is a table of token buckets, one for each name, which always comes with
// the same rate. The table is bounded: when it is full, buckets are forgotten,
// those first that are full again anyway.
type limiter struct {
	began time.Time

	mu     sync.Mutex
	meters map[string]meter
}

// maxMeters bounds the table of a limiter: about 8 MB.
const maxMeters = 1 << 16

func newLimiter() *limiter {
	return &limiter{began: time.Now(), meters: make(map[string]meter)}
}

// take spends a token of name and returns 0, or how long it is until there is one.
func (l *limiter) take(name string, r rate) (wait time.Duration) {
	if r.gap == 0 {
		return 0
	}
	now := time.Since(l.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	m, found := l.meters[name]
	if !found && len(l.meters) >= maxMeters {
		l.shrink(now)
	}
	wait = m.take(r, now)
	l.meters[name] = m
	return wait
}

// charge spends n tokens of name, whether there are so many or not.
func (l *limiter) charge(name string, n int, r rate) {
	if r.gap == 0 {
		return
	}
	now := time.Since(l.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	m, found := l.meters[name]
	if !found && len(l.meters) >= maxMeters {
		l.shrink(now)
	}
	m.charge(n, r, now)
	l.meters[name] = m
}

// wait is take that spends nothing.
func (l *limiter) wait(name string, r rate) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.meters[name]
	return m.take(r, time.Since(l.began))
}

// shrink forgets the buckets that are full again, and if that is not enough,
// any, until half of the table is free.
func (l *limiter) shrink(now time.Duration) {
	for name, m := range l.meters {
		if time.Duration(m) <= now {
			delete(l.meters, name)
		}
	}
	for name := range l.meters {
		if len(l.meters) <= maxMeters/2 {
			return
		}
		delete(l.meters, name)
	}
}

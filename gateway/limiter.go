package gateway

import (
	"sync"
	"time"
)

// limiter is a table of token buckets, one for each name. The table is bounded:
// when it is full, buckets are forgotten, those first that are full again anyway.
type limiter struct {
	rate  rate
	began time.Time

	mu     sync.Mutex
	meters map[string]meter
}

// maxMeters bounds the table of a limiter: about 8 MB.
const maxMeters = 1 << 16

func newLimiter(r rate) *limiter {
	return &limiter{rate: r, began: time.Now(), meters: make(map[string]meter)}
}

// take spends a token of name and returns 0, or how long it is until there is one.
func (l *limiter) take(name string, now time.Time) (wait time.Duration) {
	if l.rate.gap == 0 {
		return 0
	}
	at := now.Sub(l.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	m, found := l.meters[name]
	if !found && len(l.meters) >= maxMeters {
		l.shrink(at)
	}
	wait = m.take(l.rate, at)
	l.meters[name] = m
	return wait
}

// wait returns 0 when name has a token left, or how long it is until there is one.
func (l *limiter) wait(name string, now time.Time) time.Duration {
	if l.rate.gap == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.meters[name]
	return m.take(l.rate, now.Sub(l.began))
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

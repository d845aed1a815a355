package ratelimit

import (
	"sync"
	"time"
)

// Limiter is a table of token buckets by name. A name always comes with the same rate.
// The table is bounded: a full one forgets buckets, beginning with those that are full
// again.
type Limiter struct {
	began time.Time

	mu      sync.Mutex
	buckets map[string]Bucket
}

// maxBuckets bounds the table of a limiter: about 8 MB.
const maxBuckets = 1 << 16

// NewLimiter returns a limiter whose buckets are full.
func NewLimiter() *Limiter {
	return &Limiter{began: time.Now(), buckets: make(map[string]Bucket)}
}

// Take spends a token of name and returns 0, or how long it is until there is one.
func (l *Limiter) Take(name string, r Rate) (wait time.Duration) {
	if r.Gap == 0 {
		return 0
	}
	now := time.Since(l.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(name, now)
	wait = b.Take(r, now)
	l.buckets[name] = b
	return wait
}

// Charge spends n tokens of name, also ones that are not there yet.
func (l *Limiter) Charge(name string, n int, r Rate) {
	if r.Gap == 0 {
		return
	}
	now := time.Since(l.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(name, now)
	b.Charge(n, r, now)
	l.buckets[name] = b
}

// bucket returns the bucket of name, and makes room for one that is new.
func (l *Limiter) bucket(name string, now time.Duration) Bucket {
	b, found := l.buckets[name]
	if !found && len(l.buckets) >= maxBuckets {
		l.shrink(now)
	}
	return b
}

// Wait returns how long it is until there is a token of name, and spends nothing.
func (l *Limiter) Wait(name string, r Rate) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[name]
	return b.Take(r, time.Since(l.began))
}

// shrink forgets the buckets that are full again. If that is not enough it forgets any,
// until half of the table is free.
func (l *Limiter) shrink(now time.Duration) {
	for name, b := range l.buckets {
		if time.Duration(b) <= now {
			delete(l.buckets, name)
		}
	}
	for name := range l.buckets {
		if len(l.buckets) <= maxBuckets/2 {
			return
		}
		delete(l.buckets, name)
	}
}

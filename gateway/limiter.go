package gateway

import (
	"sync"
	"time"
)

// limiter is a table of token buckets: each name may fail burst times at once
// and rate times a second after that. The table is bounded: when it is full, buckets
// are forgotten, those first that are full again anyway.
type limiter struct {
	burst float64
	rate  float64 // tokens per second

	mu      sync.Mutex
	buckets map[string]bucket
}

type bucket struct {
	tokens float64
	at     time.Time // when tokens was true
}

// maxBuckets bounds the table of a limiter: about 8 MB.
const maxBuckets = 1 << 16

func newLimiter(burst int, rate float64) *limiter {
	return &limiter{burst: float64(burst), rate: rate, buckets: make(map[string]bucket)}
}

// take spends a token of name and reports whether there was one, and if not, in
// how long there will be.
func (l *limiter) take(name string, now time.Time) (ok bool, retryAfter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, found := l.buckets[name]
	if !found {
		if len(l.buckets) >= maxBuckets {
			l.shrink(now)
		}
		b = bucket{tokens: l.burst, at: now}
	}
	b.tokens = min(l.burst, b.tokens+now.Sub(b.at).Seconds()*l.rate)
	b.at = now
	if ok = b.tokens >= 1; ok {
		b.tokens--
	} else if l.rate > 0 {
		retryAfter = time.Duration((1 - b.tokens) / l.rate * float64(time.Second))
	}
	l.buckets[name] = b
	return ok, retryAfter
}

// shrink forgets the buckets that are full again, and if that is not enough,
// any, until half of the table is free.
func (l *limiter) shrink(now time.Time) {
	for name, b := range l.buckets {
		if b.tokens+now.Sub(b.at).Seconds()*l.rate >= l.burst {
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

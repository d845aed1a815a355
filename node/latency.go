package node

import (
	"sort"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/fsm"
)

// maxTimed bounds the publishes that are timed at once. Under load the clock is therefore
// not read for every publish.
const maxTimed = 64

// latencyBuckets are the upper bounds of the buckets in seconds, from 0.1 ms to a minute.
var latencyBuckets = prometheus.ExponentialBuckets(0.0001, 1.4, 41)

// publishTimer measures how long publishes take until they are acknowledged.
type publishTimer struct {
	timed   atomic.Int32 // under way
	seconds prometheus.Histogram
	buckets []atomic.Uint64 // one for each of latencyBuckets, and one above them
}

func newPublishTimer() *publishTimer {
	return &publishTimer{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "aptlyd", Name: "publish_seconds", Buckets: latencyBuckets,
			Help: "Time from a publish to its acknowledgement, of at most 64 publishes at a time.",
		}),
		buckets: make([]atomic.Uint64, len(latencyBuckets)+1),
	}
}

// time returns done, or a function that also measures the batch's first publish.
func (t *publishTimer) time(done func(int, fsm.Receipt, error)) func(int, fsm.Receipt, error) {
	if t.timed.Load() >= maxTimed {
		return done
	}
	t.timed.Add(1)
	begun := time.Now()
	return func(i int, r fsm.Receipt, err error) {
		if i == 0 {
			if err == nil {
				t.observe(time.Since(begun).Seconds())
			}
			t.timed.Add(-1)
		}
		done(i, r, err)
	}
}

// observe counts one latency.
func (t *publishTimer) observe(seconds float64) {
	t.seconds.Observe(seconds)
	t.buckets[sort.SearchFloat64s(latencyBuckets, seconds)].Add(1)
}

// counts returns the number of latencies in each bucket so far.
func (t *publishTimer) counts() []uint64 {
	counts := make([]uint64, len(t.buckets))
	for i := range t.buckets {
		counts[i] = t.buckets[i].Load()
	}
	return counts
}

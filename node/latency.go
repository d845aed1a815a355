package node

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/aptlyd/aptlyd/fsm"
)

// maxTimed bounds how many publishes are timed at a time, so that under load the
// clock is not read for every one of them.
const maxTimed = 64

// latencyBuckets are the upper bounds, in seconds, that latencies are counted
// under: from 0.1 ms to a minute.
var latencyBuckets = prometheus.ExponentialBuckets(0.0001, 1.4, 41)

// publishTimer measures how long publishes take until they are acknowledged.
type publishTimer struct {
	timed   atomic.Int32 // under way
	seconds prometheus.Histogram
}

func newPublishTimer() *publishTimer {
	return &publishTimer{seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "aptlyd", Name: "publish_seconds", Buckets: latencyBuckets,
		Help: "Time from a publish to its acknowledgement, of at most 64 publishes at a time.",
	})}
}

// time returns done, or a done that also takes the time of a batch's first
// publish.
func (t *publishTimer) time(done func(int, fsm.Receipt, error)) func(int, fsm.Receipt, error) {
	if t.timed.Load() >= maxTimed {
		return done
	}
	t.timed.Add(1)
	begun := time.Now()
	return func(i int, r fsm.Receipt, err error) {
		if i == 0 {
			if err == nil {
				t.seconds.Observe(time.Since(begun).Seconds())
			}
			t.timed.Add(-1)
		}
		done(i, r, err)
	}
}

// counts returns how many latencies fell under each of latencyBuckets so far,
// the last one being those above all of them.
func (t *publishTimer) counts() []uint64 {
	var read dto.Metric
	if err := t.seconds.Write(&read); err != nil {
		panic(err) // a histogram without exemplars is always written
	}
	counts := make([]uint64, len(latencyBuckets)+1)
	below := uint64(0)
	for i, b := range read.GetHistogram().GetBucket() {
		counts[i] = b.GetCumulativeCount() - below
		below = b.GetCumulativeCount()
	}
	counts[len(latencyBuckets)] = read.GetHistogram().GetSampleCount() - below
	return counts
}

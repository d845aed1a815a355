package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is a distribution of durations, in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

// stopwatch collects durations from many goroutines, with a resolution of a microsecond and
// three digits.
type stopwatch struct {
	shards [8]struct {
		mu        sync.Mutex
		histogram *hdrhistogram.Histogram
	}
}

// longest is the longest duration that it distinguishes.
const longest = 10 * time.Minute

func newStopwatch() *stopwatch {
	s := &stopwatch{}
	for i := range s.shards {
		s.shards[i].histogram = hdrhistogram.New(1, longest.Microseconds(), 3)
	}
	return s
}

// record adds a duration. Goroutines with different hints do not contend.
func (s *stopwatch) record(hint int, d time.Duration) {
	shard := &s.shards[hint%len(s.shards)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	value := max(min(d, longest).Microseconds(), 1)
	if err := shard.histogram.RecordValue(value); err != nil {
		panic("bench: a value within its bounds does not fit the histogram: " + err.Error())
	}
}

func (s *stopwatch) latency() Latency {
	all := hdrhistogram.New(1, longest.Microseconds(), 3)
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		all.Merge(shard.histogram)
		shard.mu.Unlock()
	}
	ms := func(microseconds int64) float64 { return float64(microseconds) / 1000 }
	return Latency{
		P50:  ms(all.ValueAtQuantile(50)),
		P90:  ms(all.ValueAtQuantile(90)),
		P99:  ms(all.ValueAtQuantile(99)),
		P999: ms(all.ValueAtQuantile(99.9)),
		Max:  ms(all.Max()),
	}
}

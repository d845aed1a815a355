package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkPublishToFollower shows what the nudge is for: the time from a submit
// on one node until the machine of another, a follower, has applied it, at ten a
// second. Its figures are the median and the 99th percentile, in milliseconds.
func BenchmarkPublishToFollower(b *testing.B) {
	for _, test := range []struct {
		name    string
		without bool
	}{
		{"nudge", false},
		{"without", true},
	} {
		b.Run(test.name, func(b *testing.B) {
			tc := newTestCluster(b, 3, func(c *Config) {
				c.WithoutNudge = test.without
				c.LogSegmentBytes = 64 << 20
			})
			watched := tc.follower()
			applied := make(chan string, 1)
			watched.machine.mu.Lock()
			watched.machine.onApply = func(command string) { applied <- command }
			watched.machine.mu.Unlock()
			submitter := tc.nodes[0]
			if submitter == watched {
				submitter = tc.nodes[1]
			}
			var took []time.Duration
			ticker := time.NewTicker(100 * time.Millisecond)
			defer ticker.Stop()
			b.ResetTimer()
			for i := range max(b.N, 50) {
				<-ticker.C
				begin := time.Now()
				submitter.Submit([][]byte{fmt.Appendf(nil, "command %d", i)}, func(_ int, r Result) {
					if r.Err != nil {
						b.Error(r.Err)
					}
				})
				<-applied
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

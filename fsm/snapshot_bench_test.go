package fsm

import (
	"testing"
	"time"
)

// BenchmarkSnapshot says what a snapshot of 2 GiB costs to which 1,000 messages were
// added since the last one: to take it, and to begin to send it to somebody.
func BenchmarkSnapshot(b *testing.B) {
	m := openMachine(b, b.TempDir())
	m.createProject(Rule{Pattern: "bulk*", KeepMessages: 1 << 30, KeepFor: 24 * time.Hour})
	m.fill(2<<30, 1000, 16<<10)
	m.flushed()
	written := func() int64 {
		stats := m.db.Stats()
		return stats.TxStats.GetPageAlloc()
	}
	b.Run("taken", func(b *testing.B) {
		before := written()
		for b.Loop() {
			m.fill(1000<<10, 100, 1<<10)
			m.flushed()
		}
		b.ReportMetric(float64(written()-before)/float64(b.N)/(1<<20), "written-MiB")
	})
	b.Run("sent", func(b *testing.B) {
		for b.Loop() {
			r, size, _, _, err := m.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			if size < 2<<30 {
				b.Fatalf("a snapshot of %d bytes", size)
			}
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

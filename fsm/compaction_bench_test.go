package fsm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// publisher publishes as a cluster does: what it applies is in a synced log on
// the same disk first.
type publisher struct {
	*machine
	log     *os.File
	n       int
	entries []time.Duration // how long each took to apply
	whole   []time.Duration // with the log
}

func newPublisher(m *machine) *publisher {
	log, err := os.Create(filepath.Join(m.t.TempDir(), "log"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = log.Close() })
	return &publisher{machine: m, log: log}
}

// run publishes 100 messages every millisecond until it is told that all is done.
func (p *publisher) run(done func() bool) {
	p.entries, p.whole = nil, nil
	data := bytes.Repeat([]byte("x"), 128)
	record := make([]byte, 100*len(data))
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for ; !done(); p.n++ {
		<-ticks.C
		var commands [][]byte
		for i := range 100 {
			key := ChannelKey{projectID, fmt.Sprint("live", (p.n*100+i)%1000)}
			commands = append(commands, Publish{Channel: key, Data: data}.Encode())
		}
		begin := time.Now()
		if _, err := p.log.Write(record); err != nil {
			p.t.Fatal(err)
		}
		if err := p.log.Sync(); err != nil {
			p.t.Fatal(err)
		}
		logged := time.Now()
		p.entry(1, commands...)
		p.entries = append(p.entries, time.Since(logged))
		p.whole = append(p.whole, time.Since(begin))
	}
	slices.Sort(p.entries)
	slices.Sort(p.whole)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func percentile(sorted []time.Duration, p int) float64 {
	return milliseconds(sorted[(len(sorted)-1)*p/100])
}

// BenchmarkShrink fills the disk, lets it expire at once and says how long it takes
// until the file is below a fifth of its peak, and what publishing suffers meanwhile.
func BenchmarkShrink(b *testing.B) {
	b.Run("2GiB/channels=1000", func(b *testing.B) { benchmarkShrink(b, 2<<30, 1000, 1<<10) })
	b.Run("96MiB/channels=100000", func(b *testing.B) { benchmarkShrink(b, 96<<20, 100_000, 256) })
	// Chunks of one message each.
	b.Run("2GiB/channels=100000", func(b *testing.B) { benchmarkShrink(b, 2<<30, 100_000, 2<<10) })
}

func benchmarkShrink(b *testing.B, total, channels, size int) {
	for b.Loop() {
		m := openMachine(b, b.TempDir())
		m.createProject(Rule{Pattern: "bulk*", KeepMessages: 1 << 30, KeepFor: 24 * time.Hour},
			Rule{Pattern: "*", KeepMessages: 100, KeepFor: time.Hour})
		m.fill(total, channels, size)
		m.flushed()
		peak := m.fileSize()
		p := newPublisher(m)
		quiet := time.Now().Add(5 * time.Second)
		p.run(func() bool { return time.Now().After(quiet) })
		b.ReportMetric(percentile(p.whole, 99), "before-p99-ms")
		before := m.fileSize()

		m.tick(24 * time.Hour.Milliseconds())
		expired := time.Now()
		next := expired
		p.run(func() bool {
			if time.Now().Before(next) {
				return false
			}
			next = time.Now().Add(100 * time.Millisecond)
			return m.fileSize() < peak/5
		})
		b.ReportMetric(time.Since(expired).Seconds(), "shrink-s")
		b.ReportMetric(percentile(p.whole, 50), "p50-ms")
		b.ReportMetric(percentile(p.whole, 99), "p99-ms")
		b.ReportMetric(percentile(p.entries, 99), "entry-p99-ms")
		b.ReportMetric(percentile(p.entries, 100), "entry-max-ms")
		b.ReportMetric(float64(before)/(1<<20), "peak-MiB")
		b.ReportMetric(float64(m.fileSize())/(1<<20), "shrunk-MiB")
	}
}

package fsm

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
)

// benchmarkPublish applies entries of 64 messages of 128 bytes over so many
// channels, all of it flushed.
func benchmarkPublish(b *testing.B, channels int, ids bool) {
	m := openMachine(b, b.TempDir())
	m.createProject()
	const perEntry = 64
	data := bytes.Repeat([]byte("x"), 128)
	keys := make([]ChannelKey, channels)
	for i := range keys {
		keys[i] = ChannelKey{projectID, fmt.Sprintf("channel-%d", i)}
	}
	// Encoding is not what is measured: what is allocated for the commands is
	// taken off below.
	entry := func(i int) [][]byte {
		commands := make([][]byte, perEntry)
		for j := range commands {
			n := i*perEntry + j
			p := Publish{Channel: keys[n%channels], Data: data}
			if ids {
				p.ID = fmt.Sprint(n)
			}
			commands[j] = p.Encode()
		}
		return commands
	}
	const prepared = 1024
	var before, after runtime.MemStats
	var mallocs, allocated uint64
	b.ResetTimer()
	for i := 0; i < b.N; {
		b.StopTimer()
		var entries [][][]byte
		for len(entries) < prepared && i < b.N {
			entries = append(entries, entry(i/perEntry))
			i += perEntry
		}
		runtime.ReadMemStats(&before)
		b.StartTimer()
		for _, commands := range entries {
			m.entry(1, commands...)
		}
		// Nothing is to be flushed while the clock stands.
		if err := m.Flush(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		runtime.ReadMemStats(&after)
		mallocs += after.Mallocs - before.Mallocs
		allocated += after.TotalAlloc - before.TotalAlloc
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(mallocs)/float64(b.N), "allocs/msg")
	b.ReportMetric(float64(allocated)/float64(b.N), "B/msg")
}

func BenchmarkPublish(b *testing.B) {
	for _, channels := range []int{1, 100, 100_000} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) { benchmarkPublish(b, channels, false) })
	}
	b.Run("channels=100/ids", func(b *testing.B) { benchmarkPublish(b, 100, true) })
}

func BenchmarkRead(b *testing.B) {
	for _, stored := range []bool{false, true} {
		b.Run(fmt.Sprintf("stored=%t", stored), func(b *testing.B) {
			m := openMachine(b, b.TempDir(), lazy)
			m.createProject()
			for range 1000 {
				m.publish(0, news, string(bytes.Repeat([]byte("x"), 128)))
			}
			if stored {
				m.flushed()
				m.evictAll()
			}
			b.ReportAllocs()
			for b.Loop() {
				page, err := m.Read(news, 900, 100, 1<<20)
				if err != nil || len(page.Messages) != 100 {
					b.Fatal(len(page.Messages), err)
				}
			}
		})
	}
}

package fsm

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
)

// benchmarkPublish applies entries of 64 messages of 128 bytes over so many
// channels in turn, all of it flushed.
func benchmarkPublish(b *testing.B, channels int, ids bool) {
	m := openMachine(b, b.TempDir())
	m.createProject()
	key := newKey("key_ABCDEFGHIJKLMNOPQRSTUVWXYZ", ServerKey)
	m.must(CreateKey{Key: key}.Encode())
	from := Sender{Kind: KeySender, ID: key.ID, Since: m.Stamp()}
	const perEntry = 64
	data := bytes.Repeat([]byte("x"), 128)
	publish := func(n int) []byte {
		p := Publish{
			Channel: ChannelKey{projectID, fmt.Sprintf("user:%d:inbox", n%channels*7919%channels)}, Data: data,
			From: from,
		}
		if ids {
			p.ID = fmt.Sprint(n)
		}
		return p.Encode()
	}
	// Encoding is not what is measured. Without ids the same commands do again.
	count := b.N
	if !ids {
		count = min(max(channels, 1<<16), b.N)
	}
	commands := make([][]byte, count)
	for n := range commands {
		commands[n] = publish(n)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	for n := 0; n < b.N; n += perEntry {
		from := n % count
		m.entry(1, commands[from:min(from+perEntry, count)]...)
	}
	if err := m.Flush(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N), "allocs/msg")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N), "B/msg")
}

func BenchmarkPublish(b *testing.B) {
	for _, channels := range []int{1, 100, 100_000} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) { benchmarkPublish(b, channels, false) })
	}
	b.Run("channels=100/ids", func(b *testing.B) { benchmarkPublish(b, 100, true) })
	// A message for each of them.
	b.Run("once", func(b *testing.B) { benchmarkPublish(b, max(b.N, 1000), false) })
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

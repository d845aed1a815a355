package fsm

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// heapInUse is what is live, once all that can be given back is.
func heapInUse() uint64 {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what pools hold goes in the second turn
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

// BenchmarkMillion makes a million channels, each published to once, and says
// what they take in memory and on disk, and how long it takes to open the state
// again, after closing it and after a crash.
func BenchmarkMillion(b *testing.B) {
	const channels, perEntry = 1_000_000, 100
	for b.Loop() {
		dir := b.TempDir()
		m := openMachine(b, dir)
		m.createProject()
		empty := heapInUse()
		peak := empty
		begin := time.Now()
		for n := 0; n < channels; n += perEntry {
			commands := make([][]byte, perEntry)
			for i := range commands {
				key := ChannelKey{projectID, fmt.Sprintf("user:%d:inbox", (n+i)*7919%channels)}
				commands[i] = Publish{Channel: key, Data: []byte(`{"text":"a message of some length"}`)}.Encode()
			}
			m.entry(1, commands...)
			if n%10_000 == 0 {
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				peak = max(peak, stats.HeapInuse)
			}
		}
		m.flushed()
		b.ReportMetric(time.Since(begin).Seconds(), "create-s")
		b.ReportMetric(float64(m.fileSize())/channels, "disk-B/channel")
		b.ReportMetric(float64(peak)/(1<<20), "peak-heap-MiB")
		full := heapInUse()
		b.ReportMetric(float64(full-min(full, empty))/(1<<20), "heap-MiB")
		m.evictAll()
		b.ReportMetric(float64(heapInUse())/(1<<20), "evicted-heap-MiB")
		m.kill()
		begin = time.Now()
		m = openMachine(b, dir)
		b.ReportMetric(time.Since(begin).Seconds(), "open-s")
		opened := heapInUse()
		b.ReportMetric(float64(opened)/(1<<20), "opened-heap-MiB")
		m.publish(1, ChannelKey{projectID, "user:0:inbox"}, "1")
	}
}

// BenchmarkChannelCost says what a resident channel takes in memory.
func BenchmarkChannelCost(b *testing.B) {
	const channels = 100_000
	for b.Loop() {
		m := openMachine(b, b.TempDir(), lazy)
		m.createProject()
		empty := heapInUse()
		for n := range channels {
			m.entry(1, Publish{Channel: ChannelKey{projectID, fmt.Sprintf("user:%d:inbox", n)}, Data: []byte("1")}.Encode())
		}
		b.ReportMetric(float64(heapInUse()-empty)/channels, "dirty-B")
		m.flushed()
		b.ReportMetric(float64(heapInUse()-empty)/channels, "resident-B")
	}
}

// BenchmarkIDCost says what a million message ids take in memory, with those that
// have gone before them.
func BenchmarkIDCost(b *testing.B) {
	const ids = 1_000_000
	for b.Loop() {
		empty := heapInUse()
		t := newIDTable()
		for n := range uint64(3 * ids) {
			var hash idHash
			binary.LittleEndian.PutUint64(hash[:], n*0x9E3779B97F4A7C15)
			t.add(seenID{hash, n, int64(n), 1})
			if n >= ids {
				t.expire(int64(n) - ids + idWindow)
			}
		}
		b.ReportMetric(float64(heapInUse()-empty)/float64(len(t.queue)), "B/id")
		runtime.KeepAlive(t)
	}
}

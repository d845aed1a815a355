package test

import (
	"bufio"
	"context"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
)

// publishing is a load that only publishes, as fast as 3,000 messages in flight allow.
func publishing(channels, messages, size int) bench.Fanout {
	return bench.Fanout{
		Channels:   channels,
		Publishers: 4,
		Window:     (3000 + channels - 1) / channels,
		Pending:    3000,
		Size:       size,
		Messages:   messages,
		Duration:   30 * time.Minute,
		InFlight:   12,
		Settle:     deadline,
	}
}

// publish runs such a load.
func publish(b *testing.B, ctx context.Context, load bench.Fanout, target bench.Target) bench.FanoutReport {
	b.Helper()
	report, err := load.Run(ctx, target)
	if err != nil {
		b.Fatal(err)
	}
	if report.Broken() {
		b.Fatalf("%+v", report)
	}
	return report
}

// most returns the greatest of what nodes use of something.
func most(c spawned, used func(i int) int64) (n int64) {
	for i := range c.Len() {
		n = max(n, used(i))
	}
	return n
}

func (s spawned) memory(i int) int64 { return ownMemory(s.PID(i)) }

// disk returns what a node's folder takes of the disk, or a file in it. What vanishes
// meanwhile does not count.
func (s spawned) disk(i int, path ...string) (total int64) {
	// The only errors are of what has vanished.
	_ = filepath.WalkDir(filepath.Join(s.Dir(i), filepath.Join(path...)), func(path string, _ fs.DirEntry, _ error) error {
		var stat syscall.Stat_t
		if syscall.Lstat(path, &stat) == nil {
			total += stat.Blocks * 512
		}
		return nil
	})
	return total
}

// stateFile returns what the file of the applied state takes.
func (s spawned) stateFile(i int) int64 { return s.disk(i, "state", "state.db") }

func (s spawned) folder(i int) int64 { return s.disk(i) }

// sample calls f every 50 ms until stop, which waits for the last call.
func sample(f func()) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			f()
			select {
			case <-quit:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// awaitFlushed waits until the nodes have written what they applied: nothing is
// written for longer than they let it wait.
func awaitFlushed(b *testing.B, c spawned) {
	b.Helper()
	last, since := int64(-1), time.Now()
	for time.Since(since) < 6*time.Second {
		if now := most(c, c.stateFile); now != last {
			last, since = now, time.Now()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

const mebibyte = 1 << 20

// BenchmarkHotAndCold publishes 100,000 messages to one channel and to 100,000 new
// channels once each, in turn, on three nodes that have seen both before, and says what
// is the median of each.
func BenchmarkHotAndCold(b *testing.B) {
	const messages, turns = 100_000, 3
	kinds := []struct {
		name     string
		channels int
	}{{"hot", 1}, {"cold", messages}}
	for b.Loop() {
		c := startCluster(b, 3)
		rate, cpu := make([][]float64, len(kinds)), make([][]float64, len(kinds))
		for turn := range 1 + turns {
			for i, kind := range kinds {
				r := publish(b, b.Context(), publishing(kind.channels, messages, 128), c.Target())
				awaitFlushed(b, c)
				if turn > 0 {
					rate[i] = append(rate[i], messages/r.Seconds)
					cpu[i] = append(cpu[i], r.ServerCPU/messages*1e6)
				}
			}
		}
		for i, kind := range kinds {
			b.ReportMetric(median(rate[i]), kind.name+"-msgs/s")
			b.ReportMetric(median(cpu[i]), kind.name+"-CPU-µs/msg")
		}
		b.ReportMetric(median(rate[1])/median(rate[0]), "cold/hot")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAllocations publishes 300,000 messages to 12 channels, a third of them
// through each of three nodes, and says how often the leader and the busiest follower
// allocate memory for a message of the cluster.
func BenchmarkAllocations(b *testing.B) {
	const channels, messages = 12, 300_000
	for b.Loop() {
		c := startCluster(b, 3)
		publish(b, b.Context(), publishing(channels, messages, 128), c.Target())
		status, err := admin(c, 0).Status(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		before := make([]float64, c.Len())
		for i := range c.Len() {
			before[i] = mallocs(b, c, i)
		}
		publish(b, b.Context(), publishing(channels, messages, 128), c.Target())
		leader, follower := 0.0, 0.0
		for i := range c.Len() {
			each := (mallocs(b, c, i) - before[i]) / messages
			if c.Name(i) == status.Leader {
				leader = each
			} else {
				follower = max(follower, each)
			}
		}
		b.ReportMetric(leader, "leader-allocs/msg")
		b.ReportMetric(follower, "follower-allocs/msg")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// mallocs returns how often a node has allocated memory.
func mallocs(b *testing.B, c spawned, i int) float64 {
	b.Helper()
	response, err := http.Get(url(c, i) + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("a node does not say how often it allocates")
	return 0
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// BenchmarkMillionChannels makes a million channels on three nodes, each published to
// once, and says what they cost, of the node that they cost most, and how long all
// nodes together take to come back from a kill.
func BenchmarkMillionChannels(b *testing.B) {
	const channels = 1_000_000
	for b.Loop() {
		c := startCluster(b, 3)
		b.ReportMetric(float64(most(c, c.memory))/mebibyte, "empty-MiB")
		peak := int64(0)
		stop := sample(func() { peak = max(peak, most(c, c.memory)) })
		report := publish(b, b.Context(), publishing(channels, channels, 128), c.Target())
		stop()
		b.ReportMetric(float64(report.Acknowledged)/report.Seconds, "channels/s")
		b.ReportMetric(report.ServerCPU/channels*1e6, "CPU-µs/channel")
		b.ReportMetric(float64(peak)/mebibyte, "peak-MiB")
		awaitFlushed(b, c)
		b.ReportMetric(float64(most(c, c.memory))/mebibyte, "after-MiB")
		b.ReportMetric(float64(most(c, c.stateFile))/channels, "state-B/channel")
		b.ReportMetric(float64(most(c, c.folder))/channels, "disk-B/channel")
		for i := range c.Len() {
			if err := c.Kill(i); err != nil {
				b.Fatal(err)
			}
		}
		begun := time.Now()
		for i := range c.Len() {
			if err := c.Start(i); err != nil {
				b.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(b.Context(), deadline)
		for i := range c.Len() {
			if err := c.Ready(ctx, i); err != nil {
				b.Fatal(err)
			}
		}
		cancel()
		b.ReportMetric(time.Since(begun).Seconds(), "restart-s")
		b.ReportMetric(float64(most(c, c.memory))/mebibyte, "restarted-MiB")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRetention fills 2 GiB on three nodes and lets it expire at once, under
// 2,000 messages a second, and says how long it takes until the disk of every node has
// less than a fifth of its peak, and what publishing suffers meanwhile.
func BenchmarkRetention(b *testing.B) {
	const channels, messages, size = 1000, 2 << 17, 8 << 10
	for b.Loop() {
		c := startCluster(b, 3)
		project, err := admin(c, 0).CreateProject(b.Context(), client.ProjectSpec{Name: "bulk"})
		if err != nil {
			b.Fatal(err)
		}
		keep := func(d time.Duration) {
			rules := []client.Rule{{Pattern: "*", KeepMessages: 1_000_000, KeepFor: client.Duration(d)}}
			if _, err := admin(c, 0).UpdateProject(b.Context(), project.ID, client.ProjectChange{Rules: &rules}); err != nil {
				b.Fatal(err)
			}
		}
		keep(24 * time.Hour)
		bulk := c.Target()
		for _, key := range project.Keys {
			if key.Kind == "server" {
				bulk.Key = key.Text
			}
		}
		filled := publish(b, b.Context(), publishing(channels, messages, size), bulk)
		b.ReportMetric(float64(filled.Acknowledged)/filled.Seconds, "fill-msgs/s")
		awaitFlushed(b, c)

		live := publishing(1000, 0, 128)
		live.Rate, live.Duration = 2000, 20*time.Second
		before := publish(b, b.Context(), live, c.Target())
		b.ReportMetric(before.PublishToAcknowledge.P50, "before-p50-ms")
		b.ReportMetric(before.PublishToAcknowledge.P99, "before-p99-ms")

		peak := most(c, c.folder)
		b.ReportMetric(float64(peak)/mebibyte, "peak-MiB")
		keep(time.Second)
		expired := time.Now()
		ctx, shrunk := context.WithCancel(b.Context())
		var took time.Duration
		var left int64
		stop := sample(func() {
			left = most(c, c.folder)
			if peak = max(peak, left); left < peak/5 && took == 0 {
				took = time.Since(expired)
				shrunk()
			}
		})
		live.Duration = 90 * time.Second
		during := publish(b, ctx, live, c.Target())
		stop()
		shrunk()
		if took == 0 {
			b.Fatalf("of %d bytes %d are left", peak, left)
		}
		b.ReportMetric(took.Seconds(), "shrink-s")
		b.ReportMetric(float64(left)/mebibyte, "shrunk-MiB")
		b.ReportMetric(during.PublishToAcknowledge.P50, "p50-ms")
		b.ReportMetric(during.PublishToAcknowledge.P99, "p99-ms")
		b.ReportMetric(during.PublishToAcknowledge.Max, "max-ms")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

package test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// weigh publishes total bytes in large messages, outside of any ledger.
func weigh(t *testing.T, c site, node int, total int) {
	t.Helper()
	const size, channels = 60_000, 10
	data := bytes.Repeat([]byte("x"), size)
	publisher := connect(t, c, c.keys().server, node)
	var wg sync.WaitGroup
	for n := range total / size {
		wg.Add(1)
		p := client.Publication{Channel: fmt.Sprintf("weight:%d", n%channels), Data: string(data)}
		err := publisher.PublishAsync(within(t, deadline), p, func(_ client.Receipt, err error) {
			defer wg.Done()
			if err != nil {
				t.Errorf("publish %d bytes: %v", size, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

// peakMemory returns the most memory that node i has had resident, in bytes.
func peakMemory(t *testing.T, c spawned, i int) int64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID(i)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	t.Fatalf("no VmHWM in %s", raw)
	return 0
}

// A snapshot is due after 64 MiB of log, and another 64 MiB stay behind it.
const logBehindSnapshots = 192 << 20

func TestLaggardIsKilledWhileItCatchesUp(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	l := startLoad(t, c, 10, 100)
	l.await(100)
	lead := leader(t, c)
	laggard := (lead + 1) % 3
	if err := c.Kill(laggard); err != nil {
		t.Fatal(err)
	}
	weigh(t, c, lead, logBehindSnapshots)
	receiving := filepath.Join(c.Dir(laggard), "snapshots", "install.state.tmp")
	restoring := filepath.Join(c.Dir(laggard), "state", "state.db.restoring")
	for kill := range rounds(t, 3, 6) {
		// In turn at the beginning, halfway, and while the state is replaced.
		path, size := receiving, int64([]int{1, logBehindSnapshots / 2, 1}[kill%3])
		if kill%3 == 2 {
			path = restoring
		}
		if err := c.Start(laggard); err != nil {
			t.Fatal(err)
		}
		eventually(t, deadline, func() error {
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("kill %d: there is no %s", kill, path)
			case err != nil:
				t.Fatal(err)
			case info.Size() < size:
				return fmt.Errorf("kill %d: %s has %d of %d bytes", kill, path, info.Size(), size)
			}
			return nil
		})
		if err := c.Kill(laggard); err != nil {
			t.Fatal(err)
		}
	}
	before := strings.Count(c.readLog(t, laggard), "state restored")
	began := time.Now()
	if err := c.Restart(within(t, deadline), laggard); err != nil {
		t.Fatal(err)
	}
	t.Logf("back in step %v after the last kill", time.Since(began))
	l.await(300)
	l.end()
	l.check()
	// One snapshot does it; a second one may be due when the log is truncated
	// meanwhile.
	if restored := strings.Count(c.readLog(t, laggard), "state restored") - before; restored > 2 {
		t.Errorf("%d snapshots were installed after the last kill", restored)
	}
	for i := range c.Len() {
		peak := peakMemory(t, c, i)
		t.Logf("%s had at most %d MiB resident", c.Name(i), peak>>20)
		if peak > memoryBound && !raceEnabled {
			t.Errorf("%s had %d MiB resident", c.Name(i), peak>>20)
		}
	}
}

// memoryBound is for nodes that hold some 200 MB: more than what they keep of it
// in memory, their queues and the parts of the files that are mapped.
const memoryBound = 768 << 20

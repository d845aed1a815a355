package test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// weigh publishes total bytes in large messages, outside of any ledger, all of
// which are retained. They are random, so that none of it can be compressed.
func weigh(t *testing.T, c site, node int, total int) {
	t.Helper()
	const size, perChannel = 60_000, 900
	channels := total/size/perChannel + 1
	random, data := rand.NewChaCha8([32]byte{}), make([]byte, size*3/4)
	publisher := connect(t, c, c.keys().server, node)
	var wg sync.WaitGroup
	for n := range total / size {
		wg.Add(1)
		_, _ = random.Read(data) // which never fails
		p := client.Publication{
			Channel: fmt.Sprintf("weight:%d", n%channels), Data: base64.StdEncoding.EncodeToString(data),
		}
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

// peaks watches the memory of the nodes' processes that is theirs: pages of
// mapped files, which the kernel takes back when it needs them, do not count.
type peaks struct {
	end   func()
	bytes []int64 // by node; to be read after end
}

func watchMemory(t *testing.T, c spawned) *peaks {
	p := &peaks{bytes: make([]int64, c.Len())}
	p.end = sync.OnceFunc(sample(func() {
		for i := range p.bytes {
			p.bytes[i] = max(p.bytes[i], c.memory(i))
		}
	}))
	t.Cleanup(p.end)
	return p
}

// ownMemory returns the anonymous memory of a process that is resident, in
// bytes; 0 when it has ended.
func ownMemory(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	return 0
}

// laggardRun is how far behind a node is and what it has to bear.
type laggardRun struct {
	missed int // bytes; a snapshot is due after 64 MiB of log, and another 64 MiB stay behind it
	kills  int
	rate   int // messages a second meanwhile
}

// memoryBound is more than what a node keeps of the channels in memory, its queues
// and the garbage of both while messages come as fast as it takes them, however
// far behind it or another one is.
const memoryBound = 1 << 30

func TestLaggardIsKilledWhileItCatchesUp(t *testing.T) {
	t.Parallel()
	run := laggardRun{missed: 192 << 20, kills: 3, rate: 100}
	if long() {
		run = laggardRun{missed: 1 << 30, kills: 5, rate: 1000}
	}
	c := startCluster(t, 3)
	memory := watchMemory(t, c)
	l := startLoad(t, c, run.rate/5, run.rate) // so many channels that none is trimmed
	l.await(100)
	lead := leader(t, c)
	laggard := (lead + 1) % 3
	if err := c.Kill(laggard); err != nil {
		t.Fatal(err)
	}
	weigh(t, c, lead, run.missed)
	receiving := filepath.Join(c.Dir(laggard), "snapshots", "install.state.tmp")
	restoring := filepath.Join(c.Dir(laggard), "state", "state.db.restoring")
	arrives := func(what, path string, size int64) {
		t.Helper()
		eventually(t, deadline, func() error {
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("%s: there is no %s", what, path)
			case err != nil:
				t.Fatal(err)
			case info.Size() < size:
				return fmt.Errorf("%s: %s has %d of %d bytes", what, path, info.Size(), size)
			}
			return nil
		})
	}
	began := time.Now()
	for kill := range run.kills {
		// In turn at the beginning, halfway, and while the state is replaced.
		path, size := receiving, int64([]int{1, run.missed / 2, 1}[kill%3])
		if kill%3 == 2 {
			path = restoring
		}
		if err := c.Start(laggard); err != nil {
			t.Fatal(err)
		}
		arrives(fmt.Sprintf("kill %d", kill), path, size)
		if err := c.Kill(laggard); err != nil {
			t.Fatal(err)
		}
	}
	before := strings.Count(c.readLog(t, laggard), "state restored")
	killed := time.Now()
	// Promised, so asserted.
	if err := c.Restart(within(t, time.Minute), laggard); err != nil {
		t.Fatal(err)
	}
	t.Logf("back in step %v after the last kill, %v after it came back first", time.Since(killed), time.Since(began))
	l.await(300)
	l.end()
	l.check()
	// One snapshot does it; a second one may be due when the log is truncated
	// meanwhile.
	if restored := strings.Count(c.readLog(t, laggard), "state restored") - before; restored > 2 {
		t.Errorf("%d snapshots were installed after the last kill", restored)
	}
	memory.end()
	for i, peak := range memory.bytes {
		t.Logf("%s had at most %d MiB of memory", c.Name(i), peak>>20)
		if peak == 0 || peak > memoryBound && !raceEnabled {
			t.Errorf("%s had %d MiB of memory", c.Name(i), peak>>20)
		}
	}
}

// While a node takes in a snapshot it does nothing else, so it must not wait for
// a leader that is paused in the middle: there is no majority without it.
func TestLeaderIsPausedWhileItSendsASnapshot(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	l := startLoad(t, c, 10, 100)
	l.await(100)
	lead := leader(t, c)
	laggard := (lead + 1) % 3
	if err := c.Kill(laggard); err != nil {
		t.Fatal(err)
	}
	weigh(t, c, lead, 192<<20)
	if err := c.Start(laggard); err != nil {
		t.Fatal(err)
	}
	eventually(t, deadline, func() error {
		_, err := os.Stat(filepath.Join(c.Dir(laggard), "snapshots", "install.state.tmp"))
		return err
	})
	if err := c.Signal(lead, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l.watch()
	l.await(300)
	t.Logf("longest pause between acknowledgements: %v", l.pause())
	if err := c.Signal(lead, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{laggard, lead} {
		if err := c.Ready(within(t, deadline), i); err != nil {
			t.Fatal(err)
		}
	}
	l.await(100)
	l.end()
	l.check()
}

package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

// diskBytes has room for log segments, which take their 64 MiB at once.
const diskBytes = 1 << 30

// newDisks makes a disk for the data of each of three nodes that startClusterIn
// then starts in dir.
func newDisks(t *testing.T, dir string) (disks []*lab.Disk) {
	t.Helper()
	for _, name := range []string{"n1", "n2", "n3"} {
		disks = append(disks, lab.NewDisk(t, filepath.Join(dir, name), diskBytes))
	}
	return disks
}

func TestFrozenDiskOfTheLeader(t *testing.T) {
	lab.NeedDisks(t)
	dir := t.TempDir()
	disks := newDisks(t, dir)
	c := startClusterIn(t, dir, len(disks))
	l := startLoad(t, c, 10, 200)
	l.await(200)
	lead := leader(t, c)
	left := watchConnection(t, c.Servers()[lead], c.PublicKey)
	l.watch()
	disks[lead].Freeze()
	frozen := time.Now()
	// Promised, so asserted: clients hear of it within 5 s, publishing goes on
	// within 6 s.
	select {
	case <-left:
		t.Logf("the client of the frozen node is closed after %v", time.Since(frozen))
	case <-time.After(5 * time.Second):
		t.Error("a client stays on a node whose disk hangs")
	}
	l.await(600)
	t.Logf("longest pause between acknowledgements: %v", l.pause())
	if pause := l.pause(); pause > 6*time.Second {
		t.Errorf("publishing resumed after %v", pause)
	}
	disks[lead].Thaw()
	restartHung(t, c, lead)
	l.end()
	l.check()
}

// restartHung waits until a node ends because its disk hangs, and starts it again.
func restartHung(t *testing.T, c spawned, node int) {
	t.Helper()
	select {
	case <-c.Exited(node):
	case <-time.After(deadline):
		t.Fatal("a node whose disk hangs goes on")
	}
	if last := lastLine(c.readLog(t, node)); !strings.Contains(last, "the disk hangs") {
		t.Errorf("the last line of its log does not say why: %s", last)
	}
	if err := c.Restart(within(t, deadline), node); err != nil {
		t.Fatal(err)
	}
}

func TestPowerCutLosesNothing(t *testing.T) {
	lab.NeedDisks(t)
	dir := t.TempDir()
	disks := newDisks(t, dir)
	c := startClusterIn(t, dir, len(disks))
	cuts := rounds(t, 2, 30)
	l := startLoad(t, c, 4*cuts, 500) // no channel fills up, so all stays to be checked
	l.await(500)
	var outages []time.Duration
	for round := range cuts {
		// Any instant will do: while all is well, or while nodes still come back.
		time.Sleep(rand.N(2 * time.Second))
		unsynced := fmt.Sprintf("unsynced-%d", round)
		for i := range c.Len() {
			// Not synced, so it shows that the cut is one. A new file, for ext4 hurries to
			// write what replaces an old one.
			if err := os.WriteFile(filepath.Join(c.Dir(i), unsynced), []byte("lost"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i := range c.Len() {
			if err := c.Signal(i, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range disks {
			if err := d.Cut(); err != nil {
				t.Fatal(err)
			}
		}
		cut := time.Now()
		for i, d := range disks {
			<-c.Exited(i)
			d.Power()
			if raw, err := os.ReadFile(filepath.Join(c.Dir(i), unsynced)); err == nil && len(raw) > 0 {
				t.Fatal("what was not synced is there: this was no power cut")
			}
			if err := c.Start(i); err != nil {
				t.Fatal(err)
			}
		}
		l.await(1)
		outage := time.Since(cut)
		outages = append(outages, outage)
		if outage > 30*time.Second {
			t.Errorf("the first acknowledgement came %v after the cut", outage)
		}
	}
	slices.Sort(outages)
	t.Logf("acknowledging again after %v to %v, mostly %v", outages[0], outages[cuts-1], outages[cuts/2])
	l.await(250)
	l.end()
	l.check()
}

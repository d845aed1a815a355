package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestStoppedLeaderComesBackAsFollower(t *testing.T) {
	c := startCluster(t, 3)
	l := startLoad(t, c, 10, 150)
	f := follow(t, c, l.channels)
	l.await(200)
	lead := leader(t, c)
	l.watch()
	if err := c.Signal(lead, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	l.await(300)
	// Promised, so asserted: publishing resumes within three seconds.
	if pause := l.pause(); pause > 3*time.Second {
		t.Errorf("publishing resumed after %v", pause)
	}
	t.Logf("longest pause between acknowledgements: %v", l.pause())
	// Long enough for everything the woken node believes to be out of date.
	<-time.After(time.Until(stopped.Add(10 * time.Second)))
	if err := c.Signal(lead, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l.await(300)
	l.end()
	l.check()
	f.check(l)
}

// stop sends SIGSTOP to a node and waits until all its threads stand still: one that
// is syncing a file finishes that first.
func stop(t *testing.T, c spawned, i int) {
	t.Helper()
	if err := c.Signal(i, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, deadline, func() error {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.PID(i)))
		if err != nil || len(stats) == 0 {
			return fmt.Errorf("threads of %s: %d, %w", c.Name(i), len(stats), err)
		}
		for _, file := range stats {
			stat, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if !bytes.Contains(stat, []byte(") T ")) {
				return fmt.Errorf("%s goes on: %s", c.Name(i), stat)
			}
		}
		return nil
	})
}

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndexByte(log, '\n')+1:]
}

func TestStorageErrorStopsTheNodeAndNotTheCluster(t *testing.T) {
	lab.NeedTool(t, "strace")
	for _, fault := range []struct {
		name, call string
		ofLeader   bool
	}{
		{"log of the leader", "fsync", true}, // how the log is made durable
		{"log of a follower", "fsync", false},
		{"state of the leader", "fdatasync", true}, // how bbolt is
	} {
		t.Run(fault.name, func(t *testing.T) {
			c := startCluster(t, 3)
			l := startLoad(t, c, 10, 200)
			l.await(200)
			failing := leader(t, c)
			if !fault.ofLeader {
				failing = (failing + 1) % c.Len()
			}
			l.watch()
			lab.Inject(t, c.PID(failing), fault.call, "error=EIO:when=1")
			injected := time.Now()
			select {
			case <-c.Exited(failing):
			case <-time.After(deadline):
				t.Fatal("a node whose disk fails goes on")
			}
			// Promised, so asserted, as is the pause. The state is written when enough of
			// it has gathered.
			took := time.Since(injected)
			if fault.call == "fsync" && took > 2*time.Second {
				t.Errorf("the node ends %v after an fsync of its log failed", took)
			}
			if last := lastLine(c.readLog(t, failing)); !strings.Contains(last, "input/output error") {
				t.Errorf("the last line of its log does not say why: %s", last)
			}
			l.await(400)
			t.Logf("the node ended after %v, longest pause between acknowledgements %v", took, l.pause())
			if pause := l.pause(); pause > 5*time.Second {
				t.Errorf("publishing resumed after %v", pause)
			}
			if err := c.Restart(within(t, deadline), failing); err != nil {
				t.Fatal(err)
			}
			l.end()
			l.check()
		})
	}
}

func TestFullDiskRefusesPublishesAndLosesNothing(t *testing.T) {
	lab.NeedDisks(t)
	dir := t.TempDir()
	disk := filepath.Join(dir, "n1")
	lab.NewDisk(t, disk, diskBytes)
	c := startClusterIn(t, dir, 1, "--disk-reserve", strconv.Itoa(64<<20))
	mustPublish(t, c, 0, "c", 1)

	ballast := filepath.Join(disk, "ballast")
	if err := lab.Fill(disk, ballast, 32<<20); err != nil {
		t.Fatal(err)
	}
	eventually(t, deadline, func() error {
		_, err := rest(c, 0).Publish(t.Context(), client.Publication{Channel: "full", Data: 1})
		var refusal *client.Error
		if !errors.As(err, &refusal) || refusal.Code != client.CodeUnavailable {
			return fmt.Errorf("a publish to a full disk: %w", err)
		}
		return nil
	})
	if messages, err := history(t.Context(), c, 0, "c"); err != nil || len(messages) != 1 {
		t.Errorf("what was there: %v, %v", messages, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, deadline, func() error {
		_, err := rest(c, 0).Publish(t.Context(), client.Publication{Channel: "c", Data: 2})
		return err
	})
	if messages, err := history(t.Context(), c, 0, "c"); err != nil || len(messages) != 2 {
		t.Errorf("what is there now: %v, %v", messages, err)
	}
}

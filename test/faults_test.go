package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// needTool skips the test, loudly, where a program is missing. In CI it fails.
func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must run this test, but %s is missing", name)
		}
		t.Skipf("NOT TESTED: %s is missing", name)
	}
}

// needRoot skips the test, loudly, where a file system or a network cannot be
// made for it.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can make file systems and networks")
	}
}

// failSyscalls makes a system call of node i fail with EIO from now on. That the
// call is traced shows in strace's output; the node's end shows that it failed.
func failSyscalls(t *testing.T, c spawned, i int, call string) {
	t.Helper()
	needTool(t, "strace")
	cmd := exec.Command("strace", "-f", "-q", "-p", strconv.Itoa(c.PID(i)),
		"-e", "trace="+call, "-e", "inject="+call+":error=EIO", "-o", filepath.Join(t.TempDir(), "strace"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndexByte(log, '\n')+1:]
}

func TestStorageErrorStopsTheNodeAndNotTheCluster(t *testing.T) {
	needTool(t, "strace")
	for _, fault := range []struct{ name, call string }{
		{"log", "fsync"},       // how the log is made durable
		{"state", "fdatasync"}, // how bbolt is
	} {
		t.Run(fault.name, func(t *testing.T) {
			c := startCluster(t, 3)
			l := startLoad(t, c, 10, 200)
			l.await(200)
			lead := leader(t, c)
			failSyscalls(t, c, lead, fault.call)
			select {
			case <-c.Exited(lead):
			case <-time.After(deadline):
				t.Fatal("a node whose disk fails goes on")
			}
			if last := lastLine(c.readLog(t, lead)); !strings.Contains(last, "input/output error") {
				t.Errorf("the last line of its log does not say why: %s", last)
			}
			l.await(400)
			if err := c.Restart(within(t, deadline), lead); err != nil {
				t.Fatal(err)
			}
			l.end()
			l.check()
		})
	}
}

func TestFullDiskRefusesPublishesAndLosesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must run this test, which needs root to mount a file system")
		}
		t.Skip("NOT TESTED: only root can mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c := startClusterIn(t, dir, 1, "--disk-reserve", strconv.Itoa(64<<20))
	mustPublish(t, c, 0, "c", 1)

	ballast := filepath.Join(dir, "ballast")
	if err := fill(dir, ballast, 32<<20); err != nil {
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

// fill writes a file that leaves only so many bytes of the file system free.
func fill(dir, path string, leave uint64) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return err
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if free <= leave {
		return fmt.Errorf("only %d bytes are free to begin with", free)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return syscall.Fallocate(int(f.Fd()), 0, 0, int64(free-leave))
}

package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is an ext4 file system of its own, over a file, that can be made to fail
// in ways of real ones.
type disk struct {
	t     *testing.T
	image string
	dir   string // where it is mounted
}

// needDisks skips the test where file systems cannot be mounted over files.
func needDisks(t *testing.T) {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("NOT TESTED: there are no loop devices")
	}
	needTool(t, "mkfs.ext4")
	needTool(t, "mount")
}

// newDisk mounts a new file system at dir, until the test ends.
func newDisk(t *testing.T, dir string) *disk {
	t.Helper()
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: dir}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	// The file is sparse. A log segment takes its 64 MiB at once.
	if err := f.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", d.image)
	// What is frozen cannot be unmounted, nor can nodes that hang in it end.
	guard(t, `while fsfreeze -u "$1" 2>/dev/null; do :; done; ! mountpoint -q "$1" || umount -l "$1"`, dir)
	d.mount()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

// newDisks makes a disk for the data of each of three nodes that startClusterIn
// then starts in dir.
func newDisks(t *testing.T, dir string) (disks []*disk) {
	t.Helper()
	for _, name := range []string{"n1", "n2", "n3"} {
		disks = append(disks, newDisk(t, filepath.Join(dir, name)))
	}
	return disks
}

func (d *disk) mount() {
	d.t.Helper()
	run(d.t, "mount", "-o", "loop", d.image, d.dir)
}

// freeze has every write to the disk hang until thaw.
func (d *disk) freeze() {
	d.t.Helper()
	run(d.t, "timeout", "20", "fsfreeze", "-f", d.dir)
}

func (d *disk) thaw() {
	d.t.Helper()
	run(d.t, "fsfreeze", "-u", d.dir)
}

// cut takes the power from the disk: what has not reached the device by now
// never will. Only mounting it again brings it back.
func (d *disk) cut() error {
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN, linux/include/uapi/linux/ext4.h
		noLogFlush = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("shut %s down: %w", d.dir, errno)
	}
	return nil
}

// power brings a disk back that was cut, when nothing uses it any more.
func (d *disk) power() {
	d.t.Helper()
	eventually(d.t, deadline, func() error {
		out, err := exec.Command("umount", d.dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("unmount: %w: %s", err, out)
		}
		return nil
	})
	d.mount()
}

func TestFrozenDiskOfTheLeader(t *testing.T) {
	needDisks(t)
	dir := t.TempDir()
	disks := newDisks(t, dir)
	c := startClusterIn(t, dir, len(disks))
	l := startLoad(t, c, 10, 200)
	l.await(200)
	lead := leader(t, c)
	left := watchConnection(t, c.Servers()[lead], c.PublicKey)
	l.watch()
	disks[lead].freeze()
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
	disks[lead].thaw()
	select {
	case <-c.Exited(lead):
	case <-time.After(deadline):
		t.Fatal("the node whose disk hung goes on")
	}
	if last := lastLine(c.readLog(t, lead)); !strings.Contains(last, "the disk hangs") {
		t.Errorf("the last line of its log does not say why: %s", last)
	}
	if err := c.Restart(within(t, deadline), lead); err != nil {
		t.Fatal(err)
	}
	l.end()
	l.check()
}

func TestPowerCutLosesNothing(t *testing.T) {
	needDisks(t)
	dir := t.TempDir()
	disks := newDisks(t, dir)
	c := startClusterIn(t, dir, len(disks))
	cuts := rounds(t, 2, 30)
	l := startLoad(t, c, 4*cuts, 500) // no channel fills up, so all stays to be checked
	for round := range cuts {
		l.await(500 + 250*(round%3))
		for i := range c.Len() {
			// Not synced, so it shows that the cut is one.
			if err := os.WriteFile(filepath.Join(c.Dir(i), "unsynced"), []byte("lost"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i := range c.Len() {
			if err := c.Signal(i, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range disks {
			if err := d.cut(); err != nil {
				t.Fatal(err)
			}
		}
		cut := time.Now()
		for i, d := range disks {
			<-c.Exited(i)
			d.power()
			if raw, err := os.ReadFile(filepath.Join(c.Dir(i), "unsynced")); err == nil && len(raw) > 0 {
				t.Fatal("what was not synced is there: this was no power cut")
			}
			if err := c.Start(i); err != nil {
				t.Fatal(err)
			}
		}
		for i := range c.Len() {
			if err := c.Ready(within(t, deadline), i); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("all nodes are ready %v after the cut", time.Since(cut))
	}
	l.await(250)
	l.end()
	l.check()
}

package lab

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is an ext4 file system of its own, over a file, that can be made to fail
// in ways of real ones.
type Disk struct {
	t     testing.TB
	image string
	dir   string // where it is mounted

	frozen bool
	torn   tear // since Tear, until Power
}

// NewDisk makes the folder dir and mounts a new file system of so many bytes
// there, until the test ends. Its image is sparse.
func NewDisk(t testing.TB, dir string, size int64) *Disk {
	t.Helper()
	d := &Disk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: dir}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	Run(t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", d.image)
	// What is frozen cannot be unmounted, nor can nodes that hang in it end.
	Guard(t, `while fsfreeze -u "$1" 2>/dev/null; do :; done; ! mountpoint -q "$1" || umount -l "$1"`, dir)
	d.mount()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *Disk) mount() {
	d.t.Helper()
	// The journal is committed when somebody syncs and not by a timer, so that what nobody
	// synced is lost.
	Run(d.t, "mount", "-o", "loop,commit=300", d.image, d.dir)
}

// Freeze has every write to the disk hang until Thaw, or until the test ends: what
// hangs cannot be killed.
func (d *Disk) Freeze() {
	d.t.Helper()
	Run(d.t, "timeout", "20", "fsfreeze", "-f", d.dir)
	d.frozen = true
	d.t.Cleanup(func() {
		if d.frozen {
			d.Thaw()
		}
	})
}

// Thaw lets the writes go on.
func (d *Disk) Thaw() {
	d.t.Helper()
	Run(d.t, "fsfreeze", "-u", d.dir)
	d.frozen = false
}

// Cut takes the power from the disk: what has not reached the device by now
// never will. Only Power brings it back.
func (d *Disk) Cut() error {
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

// Tear takes the power from the disk while it writes: of what is not synced, Power finds
// that a random part of the sectors has reached the device, in any order. Nobody should
// write meanwhile.
func (d *Disk) Tear(random *rand.Rand) error {
	before := d.image + "-before"
	if out, err := exec.Command("cp", "--sparse=always", d.image, before).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the disk: %w: %s", err, out)
	}
	defer os.Remove(before)
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		return writeOut(path)
	})
	if err != nil {
		return fmt.Errorf("write out what is on %s: %w", d.dir, err)
	}
	if d.torn, err = chooseLost(before, d.image, random); err != nil {
		return fmt.Errorf("compare disks: %w", err)
	}
	return d.Cut()
}

// writeOut has the kernel write what it has of a file to the device, without a barrier and
// without the file system's journal.
func writeOut(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if err := unix.SyncFileRange(int(f.Fd()), 0, 0, all); err != nil {
		return fmt.Errorf("write out %s: %w", path, err)
	}
	return nil
}

// Power brings a disk back that was cut, when nothing uses it any more, which it
// waits for.
func (d *Disk) Power() {
	d.t.Helper()
	d.unmount()
	// Where another mount namespace has a copy of the mount, the dead file system
	// lives on, and would be mounted again. A copy of the image holds what has
	// reached the device, no more.
	if out, err := exec.Command("losetup", "-j", d.image).Output(); err != nil || len(out) > 0 {
		dead := d.image
		d.image += "-"
		Run(d.t, "cp", "--sparse=always", dead, d.image)
		Run(d.t, "rm", dead)
	}
	if err := d.torn.apply(d.image); err != nil {
		d.t.Fatal(err)
	}
	d.torn = nil
	d.mount()
}

func (d *Disk) unmount() {
	d.t.Helper()
	const patience = time.Minute
	for end := time.Now().Add(patience); ; {
		out, err := exec.Command("umount", d.dir).CombinedOutput()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			d.t.Fatalf("unmount %s: %v: %s", d.dir, err, out)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Fill writes a file that leaves only so many bytes of the file system free that
// dir is on.
func Fill(dir, path string, leave uint64) error {
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

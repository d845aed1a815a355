package fsm

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of so many bytes, and returns a function that
// gives it another size.
func smallDisk(t *testing.T, size string) (dir string, resize func(size string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a full disk, for which a small one must be mounted, which takes root")
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: a full disk, for which a small one must be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func(size string) {
		t.Helper()
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full stops the node. Once it has room again, nothing that was
// flushed is missing.
func TestFullDiskStopsTheNode(t *testing.T) {
	dir, resize := smallDisk(t, "8m")
	f := &fatalities{}
	m := openMachine(t, dir, lazy, f.configure)
	m.createProject()
	hashes := map[uint64][32]byte{}
	data := string(bytes.Repeat([]byte("x"), 100<<10))
	var flushed uint64
	for err := error(nil); err == nil; err = m.Flush() {
		flushed = m.durableIndex()
		m.publish(1, news, data)
		hashes[m.index] = m.hash()
	}
	<-m.flusher.done
	f.mu.Lock()
	if f.err == nil || !strings.Contains(f.err.Error(), "no space left") {
		t.Errorf("stopped for %v", f.err)
	}
	f.mu.Unlock()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}

	resize("64m")
	m = openMachine(t, dir, lazy)
	index, _ := m.Applied()
	if index < flushed || m.hash() != hashes[index] {
		t.Errorf("after the disk was full the state is that of entry %d, flushed was %d", index, flushed)
	}
	m.check()
	m.publish(1, news, data)
	m.flushed()
}

// A compaction is not begun without the room for it.
func TestFullDiskIsNotCompacted(t *testing.T) {
	dir, resize := smallDisk(t, "64m")
	m := openMachine(t, dir, lazy, func(c *Config) { c.CompactBytes = 1 << 20 })
	m.createProject()
	m.must(CreateProject{Project: Project{ID: "p2"}}.Encode())
	data := string(bytes.Repeat([]byte("x"), 64<<10))
	for i := range 400 {
		m.publish(0, ChannelKey{"p2", "bulk"}, data)
		if i%4 == 0 {
			m.publish(0, news, data)
		}
	}
	m.flushed()
	m.rest(time.Hour)
	due := func() bool {
		t.Helper()
		m.flusher.running.Lock()
		defer m.flusher.running.Unlock()
		for range 50 { // what was written lately is lately no more
			if _, err := m.compactionDue(m.db); err != nil {
				t.Fatal(err)
			}
		}
		due, err := m.compactionDue(m.db)
		if err != nil {
			t.Fatal(err)
		}
		return due
	}
	if due() {
		t.Error("a full file is to be compacted")
	}
	m.must(DeleteProject{ID: "p2"}.Encode())
	resize("40m")
	for deadline := time.Now().Add(10 * time.Second); m.db.Stats().FreeAlloc < 25<<20; m.flushed() {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are free", m.db.Stats().FreeAlloc)
		}
		m.tick(1)
	}
	m.tick(1)
	m.flushed() // nothing is behind any more
	if due() {
		t.Error("a compaction that the disk has no room for is begun")
	}
	resize("80m")
	if !due() {
		t.Error("the file is not to be compacted although there is room")
	}
}

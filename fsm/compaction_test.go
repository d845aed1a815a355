package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/aptlyd/aptlyd/internal/durable"
)

// compactStep does one small step of a compaction, due or not, and reports
// whether it was the last.
func (m *machine) compactStep() (done bool) {
	m.t.Helper()
	f := &m.flusher
	f.running.Lock()
	defer f.running.Unlock()
	f.compactAfter = time.Now().Add(time.Hour) // the flusher keeps out of it
	if f.compaction == nil {
		c, err := beginCompaction(m.cfg.Dir)
		if err != nil {
			m.t.Fatal(err)
		}
		c.limit = 500
		c.db.NoSync, c.db.NoGrowSync = true, true // no test here can tell, and they take their time
		f.compaction = c
		return false
	}
	more, err := m.compactMore()
	if err != nil {
		m.t.Fatal(err)
	}
	return !more
}

// Rest keeps the flusher from going on with a compaction for so long.
func (m *machine) rest(d time.Duration) {
	m.flusher.running.Lock()
	defer m.flusher.running.Unlock()
	m.flusher.compactAfter = time.Now().Add(d)
}

// compacted compacts the state file.
func (m *machine) compacted() {
	m.t.Helper()
	for !m.compactStep() {
	}
}

// crash is kill, but leaves what a compaction has written.
func (m *machine) crash() {
	m.t.Helper()
	leftover := filepath.Join(m.cfg.Dir, compactingState)
	half, err := os.ReadFile(leftover)
	m.kill()
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err = errors.Join(err, os.WriteFile(leftover, half, 0o600)); err != nil {
		m.t.Fatal(err)
	}
}

// copyState copies a state's folder as a crash would leave it.
func copyState(t testing.TB, from string) (to string) {
	t.Helper()
	to = t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func (m *machine) files() []string {
	m.t.Helper()
	entries, err := os.ReadDir(m.cfg.Dir)
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (m *machine) fileSize() int64 {
	m.t.Helper()
	info, err := os.Stat(filepath.Join(m.cfg.Dir, stateFile))
	if err != nil {
		m.t.Fatal(err)
	}
	return info.Size()
}

// check lets bbolt look for damage in the structure of its file.
func (m *machine) check() {
	m.t.Helper()
	err := m.db.View(func(tx *bolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// Whatever changes while a compaction is under way, and wherever it is then, the
// new file is the old one; a crash before any of its steps leaves that state, too.
func TestCompactionBesideChangesAndCrashes(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject(rule(20, time.Minute, 0))
	channel := func(i int) ChannelKey { return ChannelKey{projectID, fmt.Sprintf("c%02d", i)} }
	for i := range 40 {
		m.publish(1, channel(i), "1", "2", "3")
	}
	m.must(CreateProject{Project: Project{ID: "p0"}}.Encode())
	m.publish(1, ChannelKey{"p0", "c"}, "1")
	m.must(CreateKey{Key: newKey("k1", PublicKey)}.Encode())
	m.flushed()
	again := func(step string) {
		t.Helper()
		want := m.hash()
		restarted := openMachine(t, copyState(t, dir), lazy)
		if restarted.hash() != want {
			t.Errorf("another state after a crash %s", step)
		}
		restarted.check()
		defer func() { _ = restarted.Close() }()
		if files := restarted.files(); len(files) != 1 {
			t.Errorf("after a crash %s the folder holds %v", step, files)
		}
	}
	for step := 0; !m.compactStep(); step++ {
		switch step {
		case 20:
			m.must(DeleteProject{ID: "p0"}.Encode())
		case 25:
			m.tick(time.Minute.Milliseconds()) // expires all there is
		default:
			m.publish(1, channel(step%40), "a", "b")
			m.publishID(1, channel(step*7%40), fmt.Sprint("id", step))
			m.publish(1, ChannelKey{projectID, fmt.Sprint("new", step)}, "1")
		}
		m.flushed()
		if step%4 == 0 {
			again(fmt.Sprintf("before step %d", step))
		}
	}
	again("after the last step")
	want := m.hash()
	m.evictAll()
	if m.hash() != want {
		t.Error("the compacted file holds another state")
	}
	m.check()
	m.publish(1, news, "1")
	m.flushed()
	again("in the new file")
}

// Between its new name and its place in memory the file is as good as before.
func TestCrashBesideInstallOfCompactedFile(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	m.publish(1, news, "1", "2")
	m.flushed()
	want := m.hash()
	m.compactStep()
	for done := false; !done; {
		var err error
		if done, err = m.flusher.compaction.step(m.db); err != nil {
			t.Fatal(err)
		}
	}
	before := copyState(t, dir)
	if err := durable.Install(m.flusher.compaction.path, filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	for _, crashed := range []string{before, copyState(t, dir)} {
		if openMachine(t, crashed, lazy).hash() != want {
			t.Error("another state after a crash")
		}
	}
}

func TestSnapshotOutlivesCompaction(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	m.publish(1, news, "1", "2")
	want := m.hash()
	r, _, _, _, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	m.compacted()
	m.publish(1, news, "3")
	m.flushed()
	select {
	case <-m.released:
		t.Error("the old file is closed under the snapshot")
	default:
	}
	other := openMachine(t, t.TempDir(), lazy)
	if err := other.Restore(r); err != nil {
		t.Fatal(err)
	}
	if other.hash() != want {
		t.Error("the snapshot is not the state as it was")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	<-m.released
}

func TestCompactionIsAbandoned(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	m.publish(1, news, "1")
	snapshot := m.snapshotBytes()
	begin := func() {
		m.compactStep()
		m.compactStep()
		if len(m.files()) != 2 {
			t.Errorf("the folder holds %v", m.files())
		}
	}
	begin()
	if err := m.Restore(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	if len(m.files()) != 1 {
		t.Errorf("after a restore the folder holds %v", m.files())
	}
	begin()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if len(m.files()) != 1 {
		t.Errorf("after closing the folder holds %v", m.files())
	}
}

// Damage is not copied: neither what decayed in the old file nor what did not
// get into the new one as it was.
func TestCompactionFindsDamage(t *testing.T) {
	for _, bucket := range [][]byte{bucketChunks, bucketChannels, bucketProjects} {
		m, f := damagedMachine(t, bucket)
		err := expectFatal(t, f, func() {
			m.compactStep()
			for {
				m.rest(0)
				m.compact()
			}
		})
		if !errors.Is(err, errCorrupt) {
			t.Errorf("%s: stopped for %v", bucket, err)
		}
	}
}

func TestCompactionThatCannotWriteIsFatal(t *testing.T) {
	f := &fatalities{}
	m := openMachine(t, t.TempDir(), lazy, f.configure)
	m.createProject()
	m.flushed()
	m.compactStep()
	if err := m.flusher.compaction.db.Close(); err != nil { // as good as a disk that fails
		t.Fatal(err)
	}
	m.rest(0)
	_ = expectFatal(t, f, func() { m.compact() })
	if files := m.files(); len(files) != 2 {
		t.Errorf("the folder holds %v", files)
	}
}

// What flushes write lately is not forgotten at once, nor for ever.
func TestChurn(t *testing.T) {
	f := &flusher{}
	for i, c := range []struct{ written, want int64 }{
		{1000, 1000}, {1800, 875}, {1800, 765}, {4800, 3000}, {100, 2625}, {2900, 2800},
	} {
		if got := f.churn(c.written); got != c.want {
			t.Errorf("step %d: churn is %d, want %d", i, got, c.want)
		}
	}
	for range 100 {
		f.churn(2900)
	}
	if got := f.churn(2900); got > 10 {
		t.Errorf("long after the last write churn is %d", got)
	}
}

// fill publishes so many bytes to channels in turn, in messages of a size.
func (m *machine) fill(total, channels, size int) {
	m.t.Helper()
	data := bytes.Repeat([]byte("x"), size)
	for n := 0; n < total/size; {
		var commands [][]byte
		for range max(1, 256<<10/size) {
			key := ChannelKey{projectID, fmt.Sprintf("bulk%d", n%channels)}
			commands = append(commands, Publish{Channel: key, Data: data}.Encode())
			n++
		}
		m.entry(0, commands...)
	}
}

// What expires gives its space back to the disk while publishing goes on.
func TestDiskShrinks(t *testing.T) {
	const size = 160 << 20
	m := openMachine(t, t.TempDir(), func(c *Config) { c.FlushEvery = 10 * time.Millisecond })
	m.createProject(Rule{Pattern: "bulk*", KeepMessages: 1 << 20, KeepFor: time.Minute}, rule(100, time.Hour, 0))
	m.fill(size, 100, 16<<10)
	m.flushed()
	peak := m.fileSize()
	if peak < size {
		t.Fatalf("the file has %d bytes", peak)
	}
	r, _, _, _, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	m.tick(time.Minute.Milliseconds())
	deadline := time.Now().Add(time.Minute)
	for n := 0; m.fileSize() > peak/5; n++ {
		if time.Now().After(deadline) {
			t.Fatalf("the file has %d bytes, at its peak it had %d", m.fileSize(), peak)
		}
		m.publish(1, ChannelKey{projectID, fmt.Sprint("live", n%500)}, fmt.Sprint(n))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	want := m.hash()
	m.flushed()
	m.kill()
	m = openMachine(t, m.cfg.Dir, lazy)
	if m.hash() != want {
		t.Error("another state after opening again")
	}
	m.check()
}

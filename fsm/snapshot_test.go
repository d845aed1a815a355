package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// snapshotBytes returns a whole snapshot.
func (m *machine) snapshotBytes() []byte {
	m.t.Helper()
	r, size, index, term, err := m.Snapshot()
	if err != nil {
		m.t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		m.t.Fatal(err)
	}
	if int64(len(b)) != size {
		m.t.Fatalf("%d bytes exported, %d announced", len(b), size)
	}
	if i, t := m.Applied(); i != index || t != term {
		m.t.Fatalf("exported as of %d in term %d, applied is %d in %d", index, term, i, t)
	}
	return b
}

func TestRestoredStateIsTheSame(t *testing.T) {
	from := openMachine(t, t.TempDir(), lazy)
	from.createProject()
	from.must(CreateKey{Key: newKey("k1", PublicKey)}.Encode())
	from.publishID(1, news, "id")
	from.flushed()
	from.publish(1, news, "2", "3")
	snapshot := from.snapshotBytes()

	o := &told{}
	dir := t.TempDir()
	to := openMachine(t, dir, lazy, o.observe)
	to.must(CreateProject{Project: Project{ID: "other"}}.Encode(), CreateProject{Project: Project{ID: projectID}}.Encode())
	to.publish(1, news, "lost")
	o.lines = nil
	if err := to.Restore(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	o.expect(t, "reset")
	check := func(m *machine) {
		t.Helper()
		if m.hash() != from.hash() {
			t.Error("the restored state is another one")
		}
		if _, ok := m.KeyByText(keyText(newKey("k1", PublicKey))); !ok {
			t.Error("a key is missing")
		}
		if _, ok := m.Project("other"); ok {
			t.Error("the old state shows through")
		}
		if got := m.read(news, 0); got != "1 2 3" {
			t.Errorf("read %s", got)
		}
	}
	check(to)
	if index, _ := to.Applied(); index != from.index {
		t.Errorf("applied %d, want %d", index, from.index)
	}
	to.flushed()
	// The restored state goes on like the one it comes from.
	to.index, to.stamp, to.seq = from.index, from.stamp, from.seq
	for _, m := range []*machine{from, to} {
		m.publish(1, news, "4")
		if got := m.publishID(1, news, "id"); !got.Duplicate {
			t.Error("an id is missing")
		}
		m.flushed()
	}
	if to.hash() != from.hash() {
		t.Error("the states part after the restore")
	}
	to.kill()
	to = openMachine(t, dir)
	if to.hash() != from.hash() {
		t.Error("the restored state was not durable")
	}
}

func TestBrokenSnapshotLeavesTheOldState(t *testing.T) {
	from := openMachine(t, t.TempDir(), lazy)
	from.createProject()
	from.publish(1, news, "1")
	snapshot := from.snapshotBytes()
	o := &told{}
	dir := t.TempDir()
	m := openMachine(t, dir, lazy, o.observe)
	m.must(CreateProject{Project: Project{ID: "old"}}.Encode())
	m.publish(0, ChannelKey{"old", "c"}, "1")
	o.lines = nil
	want := m.hash()
	refuse := func(name string, r io.Reader) {
		t.Helper()
		if err := m.Restore(r); err == nil {
			t.Fatalf("%s was restored", name)
		}
		if m.hash() != want {
			t.Fatalf("%s changed the state", name)
		}
	}
	for n := len(snapshot) - snapshotFooter - 2; n < len(snapshot); n++ {
		refuse("a snapshot cut in its footer", bytes.NewReader(snapshot[:n]))
	}
	for n := 0; n < len(snapshot); n += 1 + len(snapshot)/40 {
		refuse("a truncated snapshot", bytes.NewReader(snapshot[:n]))
		flipped := bytes.Clone(snapshot)
		flipped[n] ^= 4
		refuse("a flipped snapshot", bytes.NewReader(flipped))
	}
	refuse("a snapshot with a byte more", bytes.NewReader(append(bytes.Clone(snapshot), 0)))
	refuse("a snapshot that breaks off", io.MultiReader(bytes.NewReader(snapshot[:9000]), &breaking{}))
	o.expect(t)
	m.publish(1, ChannelKey{"old", "c"}, "2")
	m.flushed()
	if _, err := os.Stat(filepath.Join(dir, restoringState)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a half restored file is left: %v", err)
	}
}

type breaking struct{}

func (*breaking) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// uncheckedSnapshot snapshots the state file without looking at its records.
func (m *machine) uncheckedSnapshot() *bytes.Buffer {
	m.t.Helper()
	tx, err := m.db.Begin(false)
	if err != nil {
		m.t.Fatal(err)
	}
	defer rollback(tx)
	var snapshot bytes.Buffer
	if err := writeSnapshot(&snapshot, tx); err != nil {
		m.t.Fatal(err)
	}
	return &snapshot
}

// A sender whose disk has decayed must not hand the damage on.
func TestCorruptRecordIsNotRestored(t *testing.T) {
	for _, bucket := range [][]byte{bucketChunks, bucketChannels, bucketProjects} {
		from := openMachine(t, t.TempDir(), lazy)
		from.createProject()
		from.publish(1, news, long)
		from.flushed()
		from.alter(bucket, flip)
		snapshot := from.uncheckedSnapshot()
		to := openMachine(t, t.TempDir(), lazy)
		if err := to.Restore(snapshot); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: restored with %v", bucket, err)
		}
	}
}

// Whoever received a damaged snapshot would stop, while the node that is damaged goes on.
func TestCorruptRecordStopsItsOwnNode(t *testing.T) {
	for _, bucket := range [][]byte{bucketChunks, bucketChannels, bucketProjects} {
		m, f := damagedMachine(t, bucket)
		err := expectFatal(t, f, func() {
			_, _, _, _, _ = m.Snapshot()
			t.Errorf("%s: a damaged state was exported", bucket)
		})
		if !errors.Is(err, errCorrupt) {
			t.Errorf("%s: stopped for %v", bucket, err)
		}
	}
}

func TestSnapshotEndsWithItsState(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	snapshot := m.snapshotBytes()
	open := func() io.ReadCloser {
		r, _, _, _, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		return r
	}
	replaced := open()
	if err := m.Restore(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(replaced); !errors.Is(err, errReplaced) {
		t.Errorf("after a restore reading gives %v", err)
	}
	closed, abandoned := open(), open()
	if err := abandoned.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(closed); !errors.Is(err, ErrClosed) {
		t.Errorf("after closing reading gives %v", err)
	}
	for _, r := range []io.Closer{replaced, closed, abandoned} {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, _, _, err := m.Snapshot(); !errors.Is(err, ErrClosed) {
		t.Errorf("snapshot of a closed state: %v", err)
	}
	if _, err := m.Read(news, 0, 1, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a closed state: %v", err)
	}
	if err := m.Restore(bytes.NewReader(snapshot)); !errors.Is(err, ErrClosed) {
		t.Errorf("restore of a closed state: %v", err)
	}
}

// TestDamagedRecordIsNoBackup: the checksum of the file says how it was sent, those of
// the records how they were stored.
func TestDamagedRecordIsNoBackup(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	m.publish(1, news, long)
	m.flushed()
	m.alter(bucketChunks, flip)
	snapshot := m.uncheckedSnapshot()
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, snapshot.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckBackup(file); !errors.Is(err, ErrNotBackup) {
		t.Errorf("the backup is taken with %v", err)
	}
}

// FuzzRestore feeds snapshots whose footer holds, so that what is behind it is
// reached; the file itself is only ever altered in values, not in pages, which
// bbolt trusts.
func FuzzRestore(f *testing.F) {
	m := openMachine(f, f.TempDir(), lazy)
	m.createProject()
	snapshot := m.snapshotBytes()
	f.Add(snapshot[:64], false)
	f.Add(snapshot, false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed && len(b) >= 4096 {
			return
		}
		if sealed {
			sum := sha256.New()
			sum.Write(b)
			b = appendFooter(bytes.Clone(b), int64(len(b)), sum)
		}
		db, _, err := receiveSnapshot(bytes.NewReader(b), filepath.Join(t.TempDir(), restoringState))
		if err == nil {
			if !bytes.Equal(b, snapshot) {
				t.Error("something else was restored")
			}
			_ = db.Close()
		}
	})
}

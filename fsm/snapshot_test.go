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

// exported returns the whole export.
func (m *machine) exported() []byte {
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
	export := from.exported()

	o := &told{}
	dir := t.TempDir()
	to := openMachine(t, dir, lazy, o.observe)
	to.must(CreateProject{Project: Project{ID: "other"}}.Encode(), CreateProject{Project: Project{ID: projectID}}.Encode())
	to.publish(1, news, "lost")
	o.lines = nil
	if err := to.Restore(bytes.NewReader(export)); err != nil {
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

func TestBrokenExportLeavesTheOldState(t *testing.T) {
	from := openMachine(t, t.TempDir(), lazy)
	from.createProject()
	from.publish(1, news, "1")
	export := from.exported()
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
	for n := len(export) - snapshotFooter - 2; n < len(export); n++ {
		refuse("an export cut in its footer", bytes.NewReader(export[:n]))
	}
	for n := 0; n < len(export); n += 1 + len(export)/40 {
		refuse("a truncated export", bytes.NewReader(export[:n]))
		flipped := bytes.Clone(export)
		flipped[n] ^= 4
		refuse("a flipped export", bytes.NewReader(flipped))
	}
	refuse("an export with a byte more", bytes.NewReader(append(bytes.Clone(export), 0)))
	refuse("an export that breaks off", io.MultiReader(bytes.NewReader(export[:9000]), &breaking{}))
	o.expect(t)
	m.publish(1, ChannelKey{"old", "c"}, "2")
	m.flushed()
	if _, err := os.Stat(filepath.Join(dir, restoringState)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a half restored file is left: %v", err)
	}
}

type breaking struct{}

func (*breaking) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// exportUnread exports the state file without looking at its records.
func (m *machine) exportUnread() *bytes.Buffer {
	m.t.Helper()
	tx, err := m.db.Begin(false)
	if err != nil {
		m.t.Fatal(err)
	}
	defer rollback(tx)
	var export bytes.Buffer
	if err := writeSnapshot(&export, tx); err != nil {
		m.t.Fatal(err)
	}
	return &export
}

// A sender whose disk has decayed must not hand the damage on.
func TestCorruptRecordIsNotRestored(t *testing.T) {
	for _, bucket := range [][]byte{bucketChunks, bucketChannels, bucketProjects} {
		from := openMachine(t, t.TempDir(), lazy)
		from.createProject()
		from.publish(1, news, long)
		from.flushed()
		from.alter(bucket, flip)
		export := from.exportUnread()
		to := openMachine(t, t.TempDir(), lazy)
		if err := to.Restore(export); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: restored with %v", bucket, err)
		}
	}
}

// Whoever received a damaged export would stop, while the node that is damaged goes on.
func TestCorruptRecordStopsItsExporter(t *testing.T) {
	for _, bucket := range [][]byte{bucketChunks, bucketChannels, bucketProjects} {
		f := &fatalities{}
		m := openMachine(t, t.TempDir(), lazy, f.configure)
		m.createProject()
		m.publish(1, news, long)
		m.flushed()
		m.alter(bucket, flip)
		err := expectFatal(t, f, func() {
			_, _, _, _, _ = m.Snapshot()
			t.Errorf("%s: a damaged state was exported", bucket)
		})
		if !errors.Is(err, errCorrupt) {
			t.Errorf("%s: stopped for %v", bucket, err)
		}
	}
}

func TestExportEndsWithItsState(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	export := m.exported()
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
	if err := m.Restore(bytes.NewReader(export)); err != nil {
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
		t.Errorf("export of a closed state: %v", err)
	}
	if _, err := m.Read(news, 0, 1, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a closed state: %v", err)
	}
	if err := m.Restore(bytes.NewReader(export)); !errors.Is(err, ErrClosed) {
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
	export := m.exportUnread()
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, export.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckBackup(file); !errors.Is(err, ErrNotBackup) {
		t.Errorf("the backup is taken with %v", err)
	}
}

// FuzzRestore feeds exports whose footer holds, so that what is behind it is
// reached; the file itself is only ever altered in values, not in pages, which
// bbolt trusts.
func FuzzRestore(f *testing.F) {
	m := openMachine(f, f.TempDir(), lazy)
	m.createProject()
	export := m.exported()
	f.Add(export[:64], false)
	f.Add(export, false)
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
			if !bytes.Equal(b, export) {
				t.Error("something else was restored")
			}
			_ = db.Close()
		}
	})
}

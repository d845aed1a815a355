package fsm

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/aptlyd/aptlyd/internal/durable"
)

func (m *machine) durableIndex() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.durable
}

// A crash in any step of a restore leaves the old state or the new one.
func TestCrashInRestore(t *testing.T) {
	from := openMachine(t, t.TempDir(), lazy)
	from.createProject()
	from.publish(1, news, "new")
	snapshot := from.snapshotBytes()
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	m.publish(1, news, "old", "older")
	m.flushed()
	restarted := func(step string, want [32]byte) {
		t.Helper()
		m := openMachine(t, copyState(t, dir), lazy)
		if m.hash() != want {
			t.Errorf("another state after a crash %s", step)
		}
		if files := m.files(); len(files) != 1 {
			t.Errorf("after a crash %s the folder holds %v", step, files)
		}
	}
	path := filepath.Join(dir, restoringState)
	for _, n := range []int{0, 1, 4096, len(snapshot) / 2, len(snapshot) - 1} {
		if err := os.WriteFile(path, snapshot[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		restarted("while the snapshot arrived", m.hash())
	}
	db, _, err := receiveSnapshot(bytes.NewReader(snapshot), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	restarted("before the new file is installed", m.hash())
	if err := durable.Install(path, filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	restarted("after the new file is installed", from.hash())
}

// pageSize and sectorSize are what bbolt writes and what a disk writes as one.
const (
	pageSize   = 4096
	sectorSize = 512
)

// cut returns what a power cut in the middle of a commit may leave: some of the
// sectors that the commit wrote. bbolt syncs the data before it writes a meta
// page, so either that is as before or all the data is there.
func cut(random *rand.Rand, before, after []byte) (file []byte, committed bool) {
	file = bytes.Clone(before)
	if random.IntN(2) == 0 {
		file = append(file, make([]byte, len(after)-len(before))...) // it has grown
	}
	all := random.IntN(3) == 0
	if all {
		file = append(file, make([]byte, len(after)-len(file))...)
	}
	for at := 2 * pageSize; at < len(file); at += sectorSize {
		if all || random.IntN(2) == 0 {
			copy(file[at:at+sectorSize], after[at:])
		}
	}
	if committed = all && random.IntN(2) == 0; committed {
		copy(file, after[:2*pageSize])
	}
	return file, committed
}

// Wherever the power fails, what was flushed is there, and nothing of what was
// being flushed unless all of it is.
func TestPowerCutWhileFlushing(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject(rule(50, 20*1000*1000, 0))
	state := func() []byte {
		t.Helper()
		file, err := os.ReadFile(filepath.Join(dir, stateFile))
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	m.flushed()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cuts, whole := 0, 0
	for n := range 12 {
		before, old := state(), m.hash()
		for range random.IntN(200) {
			m.publish(random.Int64N(3), ChannelKey{projectID, string(rune('a' + random.IntN(26)))},
				string(make([]byte, random.IntN(300))))
		}
		m.tick(sweepPause)
		want := m.hash()
		m.flushed()
		after := state()
		file, committed := cut(random, before, after)
		cuts++
		if committed {
			whole++
			old = want
		}
		crashed := t.TempDir()
		if err := os.WriteFile(filepath.Join(crashed, stateFile), file, 0o600); err != nil {
			t.Fatal(err)
		}
		again := openMachine(t, crashed, lazy)
		if again.hash() != old {
			t.Fatalf("another state after cut %d (whole: %t)", n, committed)
		}
		again.check()
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d cuts, %d after the data was synced", cuts, whole)
}

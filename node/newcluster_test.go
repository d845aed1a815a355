package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
)

// writeAll makes files of a folder that say which content they belong to.
func writeAll(t *testing.T, dir, content string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
			os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func expectContent(t *testing.T, dir, want string, names ...string) {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		found = append(found, name)
		return err
	})
	if err != nil || !slices.Equal(found, names) {
		t.Fatalf("%s holds %v, %v; want %v", dir, found, err, names)
	}
	for _, name := range names {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v; want %q", name, text, err, want)
		}
	}
}

// A crash between any two moves is finished by the next call, and no node starts
// in between.
func TestInterruptedNewClusterIsFinished(t *testing.T) {
	moves := []struct{ from, to string }{ // all of them, in order
		{cluster.IdentityFile, "old/" + cluster.IdentityFile},
		{"raft", "old/raft"},
		{"state", "old/state"},
		{"founding/" + committedFile, "founding/" + clearedFile},
		{"founding/state", "state"},
		{"founding/snapshots", "snapshots"},
		{"founding/" + cluster.IdentityFile, cluster.IdentityFile},
	}
	for done := range len(moves) + 1 {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeAll(t, dir, "old", cluster.IdentityFile, "raft/1.wal", "state/state.db")
		writeAll(t, dir, "", lockFile)
		writeAll(t, filepath.Join(dir, stagingDir), "new", cluster.IdentityFile, "snapshots/snapshot.json", "state/state.db")
		if _, err := commit(dir, newClusterNote{"source", NewCluster{}}); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, stagingDir, newClusterFile)); err != nil { // as older versions leave it
			t.Fatal(err)
		}
		name, err := os.ReadFile(filepath.Join(dir, stagingDir, committedFile))
		if err != nil {
			t.Fatal(err)
		}
		replaced := filepath.Join(dir, string(name))
		if err := os.MkdirAll(replaced, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, m := range moves[:done] {
			to := filepath.Join(dir, m.to)
			if rest, ok := strings.CutPrefix(m.to, "old/"); ok {
				to = filepath.Join(replaced, rest)
			}
			if err := os.Rename(filepath.Join(dir, m.from), to); err != nil {
				t.Fatal(err)
			}
		}
		cfg := DefaultConfig()
		cfg.DataDir, cfg.Listen = dir, "127.0.0.1:0"
		if n, err := Start(cfg); !errors.Is(err, errUnfinished) {
			t.Errorf("after %d moves a node starts: %v, %v", done, n, err)
		}
		f, err := resumeNewCluster(dir, "source")
		if err != nil || !f.Resumed {
			t.Fatalf("after %d moves: %+v, %v", done, f, err)
		}
		expectContent(t, replaced, "old", cluster.IdentityFile, "raft/1.wal", "state/state.db")
		if err := errors.Join(os.Rename(replaced, filepath.Join(t.TempDir(), "aside")),
			os.Remove(filepath.Join(dir, lockFile))); err != nil {
			t.Fatal(err)
		}
		expectContent(t, dir, "new", cluster.IdentityFile, "snapshots/snapshot.json", "state/state.db")
	}
}

func TestNewClusterThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	writeAll(t, dir, "old", cluster.IdentityFile, "raft/1.wal")
	writeAll(t, dir, "half", "founding/state/state.db") // of an earlier run
	failure := errors.New("no")
	_, err := makeNewCluster(dir, "source", func(state string, _ fsm.NewCluster) (Summary, error) {
		writeAll(t, state, "new", "state.db")
		return Summary{}, failure
	})
	if !errors.Is(err, failure) {
		t.Fatal(err)
	}
	expectContent(t, dir, "old", cluster.IdentityFile, "raft/1.wal")
}

func TestRebuildRefusesWhatIsNoNodes(t *testing.T) {
	dir := t.TempDir()
	theirs := filepath.Join(stagingDir, "fathers.txt") // in a folder that happens to be called so
	writeAll(t, dir, "mine", "thesis.txt", "photos/1.jpg", theirs)
	var wrong *ConfigError
	if _, err := Rebuild(dir); !errors.As(err, &wrong) || wrong.Setting != "data-dir" {
		t.Errorf("a folder of something else: %v", err)
	}
	if names, err := listFolder(dir); err != nil || len(names) != 2 {
		t.Errorf("it holds %v, %v", names, err)
	}
	if !exists(dir, theirs) {
		t.Errorf("%s is gone", theirs)
	}
	if _, err := Rebuild(filepath.Join(dir, "nowhere")); !errors.As(err, &wrong) {
		t.Errorf("no folder: %v", err)
	}
}

func TestRebuildEmptiesTheFolder(t *testing.T) {
	dir := t.TempDir()
	writeAll(t, dir, "old", cluster.IdentityFile, "raft/1.wal", "state/state.db")
	replaced, err := Rebuild(dir)
	if err != nil {
		t.Fatal(err)
	}
	expectContent(t, replaced, "old", cluster.IdentityFile, "raft/1.wal", "state/state.db")
	if names, err := listFolder(dir); err != nil || len(names) != 0 {
		t.Errorf("it still holds %v, %v", names, err)
	}
	if again, err := Rebuild(dir); err != nil || again != replaced {
		t.Errorf("run again: %q, %v; want %s", again, err, replaced)
	}
	if none, err := Rebuild(t.TempDir()); err != nil || none != "" {
		t.Errorf("an empty folder: %q, %v", none, err)
	}
}

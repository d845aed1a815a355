package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/raftlog"
	"github.com/aptlyd/aptlyd/internal/durable"
)

// reliedOn is everything that a start takes from a data folder, but for the state.
type reliedOn struct {
	identity identityFile
	record   snapshotRecord
	entries  []string
	stable   [3]string
}

// readReliedOn reads a folder as a start does.
func readReliedOn(t *testing.T, dir string) (r reliedOn, err error) {
	t.Helper()
	var fatal atomic.Pointer[error]
	cfg := Config{
		Logger: testLogger(), LogSegmentBytes: 4 << 10,
		Fatal: func(err error) { fatal.CompareAndSwap(nil, &err) },
	}.withDefaults()
	defer func() {
		if cause := fatal.Load(); cause != nil {
			err = errors.Join(err, *cause)
		}
	}()
	id, err := openIdentity(dir)
	if err != nil {
		return r, err
	}
	r.identity = id.read()
	logs, err := raftlog.Open(cfg.logOptions(filepath.Join(dir, "raft"), r.identity.LogChecked))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	snapshots, err := openSnapshotStore(filepath.Join(dir, "snapshots"), nil, &configHistory{}, cfg.Fatal)
	if err != nil {
		return r, err
	}
	r.record, _ = snapshots.newest()
	first, last, err := bounds(logs)
	for index := first; index <= last && err == nil; index++ {
		var log raft.Log
		if err = logs.GetLog(index, &log); err == nil {
			r.entries = append(r.entries, fmt.Sprint(log.Index, log.Term, log.Type, string(log.Data)))
		}
	}
	for i, key := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} {
		value, err2 := logs.Get([]byte(key))
		r.stable[i], err = string(value), errors.Join(err, err2)
	}
	return r, err
}

// makeReliedOn makes the folder of a member that has a snapshot, a log of several
// segments, and has voted.
func makeReliedOn(t *testing.T) (dir string, want reliedOn) {
	t.Helper()
	dir = t.TempDir()
	node := uuid.NewString()
	want.identity = identityFile{
		NodeID: node, ClusterID: uuid.NewString(), Starts: 7, Member: true, LogChecked: true,
		Peers: map[string]peerRecord{node: {Name: "n1", Peer: "127.0.0.1:7400", Gossip: "127.0.0.1:7401", Feature: 2}},
	}
	id := &identity{path: filepath.Join(dir, IdentityFile)}
	if err := id.write(want.identity); err != nil {
		t.Fatal(err)
	}
	logs, err := raftlog.Open(Config{
		Logger: testLogger(), LogSegmentBytes: 4 << 10,
		Fatal: noFatal(t),
	}.withDefaults().logOptions(filepath.Join(dir, "raft"), false))
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 60; i++ {
		err = errors.Join(err, logs.StoreLog(logAt(i, 3, fmt.Sprintf("entry %d %s", i, strings.Repeat("x", 100)))),
			logs.AwaitSynced(i)) // each with a sync of its own
	}
	err = errors.Join(err, logs.DeleteRange(1, 20), logs.SetUint64([]byte("CurrentTerm"), 3),
		logs.SetUint64([]byte("LastVoteTerm"), 3), logs.Set([]byte("LastVoteCand"), []byte(node)), logs.Close())
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := openSnapshotStore(filepath.Join(dir, "snapshots"), nil, &configHistory{}, noFatal(t))
	if err == nil {
		err = snapshots.put(snapshotRecord{State: 20, Meta: raft.SnapshotMeta{
			ID: "3-20", Index: 20, Term: 3, ConfigurationIndex: 1, Configuration: raft.Configuration{Servers: []raft.Server{
				{ID: raft.ServerID(node), Address: raft.ServerAddress(node)}, {ID: "other", Address: "other"},
			}},
		}})
	}
	if err != nil {
		t.Fatal(err)
	}
	intact := t.TempDir()
	if err := os.CopyFS(intact, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if want, err = readReliedOn(t, intact); err != nil || len(want.entries) != 40 {
		t.Fatalf("%d entries (%v)", len(want.entries), err)
	}
	return dir, want
}

// TestAFlippedBitIsNoticed flips bits in everything that a start relies on. The start
// then reads what was written, or ends with a reason: never something else.
func TestAFlippedBitIsNoticed(t *testing.T) {
	// Where a bit of a length has flipped, bbolt copies what lies behind the value in memory
	// (node.dereference): of a test that runs beside this one, which is a race.
	if !raceEnabled {
		t.Parallel()
	}
	pristine, want := makeReliedOn(t)
	noticed := make(map[string]int)
	for _, pattern := range []string{IdentityFile, "snapshots/snapshot.json", "raft/wal-meta.db", "raft/*.wal"} {
		files, err := filepath.Glob(filepath.Join(pristine, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(pristine, file)
			step := 1 + len(bytes.Trim(content, "\x00"))/400
			for at, b := range content {
				if strings.HasPrefix(name, "raft") && (at%step != 0 && b == 0 || at%(step*3) != 0 && b != 0) {
					continue
				}
				dir := filepath.Join(t.TempDir(), "data")
				if err := os.CopyFS(dir, os.DirFS(pristine)); err != nil {
					t.Fatal(err)
				}
				damage(t, filepath.Join(dir, name), at, func(b byte) byte { return b ^ 1<<(at%8) })
				got, err := readReliedOn(t, dir)
				if err != nil {
					noticed[pattern]++
				} else if !reflect.DeepEqual(got, want) {
					t.Errorf("bit %d of byte %d of %s: read %+v without a word", at%8, at, name, got)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, pattern := range []string{IdentityFile, "snapshots/snapshot.json", "raft/wal-meta.db", "raft/*.wal"} {
		if noticed[pattern] == 0 {
			t.Errorf("no flipped bit was noticed in %s", pattern)
		}
	}
	t.Logf("noticed: %v", noticed)
}

// TestFilesOfOtherVersions: what an older version wrote is read once and then written
// with a checksum, what a newer one wrote is refused by that name.
func TestFilesOfOtherVersions(t *testing.T) {
	t.Parallel()
	dir, want := makeReliedOn(t)
	path := filepath.Join(dir, IdentityFile)
	sealed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head := regexp.MustCompile(`^\{\n  "format": [0-9]+,\n  "checksum": "[0-9a-f]{8}",\n`).FindIndex(sealed)
	if err := os.WriteFile(path, append([]byte("{\n"), sealed[head[1]:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := openIdentity(dir)
	if err != nil || !reflect.DeepEqual(id.read(), want.identity) {
		t.Fatalf("read %+v, %v", id, err)
	}
	if err := id.update(func(*identityFile) {}); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, sealed) {
		t.Errorf("it is written as %s, %v", again, err)
	}
	newer := bytes.Replace(sealed, []byte(`"format": 2`), []byte(`"format": 9`), 1)
	copy(newer[head[1]-11:], "00000000")
	copy(newer[head[1]-11:], fmt.Appendf(nil, "%08x", crc32.Checksum(newer, crc32.MakeTable(crc32.Castagnoli))))
	if err := os.WriteFile(path, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openIdentity(dir); !errors.Is(err, durable.ErrOtherVersion) ||
		!strings.Contains(err.Error(), "format is 9") {
		t.Errorf("a newer format: %v", err)
	}
}

// TestOnlyAMajorityRemoves: a node believes that it was removed only where most voters
// of a configuration without it have one without it, too.
func TestOnlyAMajorityRemoves(t *testing.T) {
	t.Parallel()
	out := func(voters ...string) membership { return membership{Voters: voters} }
	in := func(voters ...string) membership { return membership{Member: true, Voters: voters} }
	for _, test := range []struct {
		name    string
		answers map[string]membership
		want    bool
	}{
		{"nobody answers", nil, false},
		{"removed", map[string]membership{"a": out("a", "b"), "b": out("a", "b")}, true},
		{"removed, and one is away", map[string]membership{"a": out("a", "b", "d"), "d": out("a", "b", "d")}, true},
		{"a leader with a ghost", map[string]membership{"a": out("a", "b", "ghost"), "b": in("a", "b", "c")}, false},
		{"the rest is away", map[string]membership{"a": out("a", "b", "d")}, false},
		{"joining nodes know nothing", map[string]membership{"a": out("a", "b", "d"), "b": {}, "d": {}}, false},
	} {
		if got := standsBehind(test.answers); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

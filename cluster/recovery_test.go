package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/raftlog"
)

func TestStartRules(t *testing.T) {
	type span struct{ first, last uint64 }
	taken := func(index, state uint64) *snapshotRecord {
		return &snapshotRecord{Meta: raft.SnapshotMeta{Index: index, Term: 1}, State: state}
	}
	installed := func(index, term, state uint64) *snapshotRecord {
		return &snapshotRecord{Meta: raft.SnapshotMeta{Index: index, Term: term}, State: state, Installed: true}
	}
	for _, test := range []struct {
		name     string
		log      span // entries of term 1
		snapshot *snapshotRecord
		applied  uint64
		member   bool
		want     string // part of the refusal, "" when the node may start
		wantLog  span
	}{
		{name: "a new node"},
		{name: "a log and nothing else", log: span{1, 9}, wantLog: span{1, 9}, member: true},
		{name: "a state behind its log", log: span{1, 9}, applied: 5, wantLog: span{1, 9}, member: true},
		{
			name: "a snapshot inside the log", log: span{3, 9}, snapshot: taken(6, 6), applied: 8, wantLog: span{3, 9},
			member: true,
		},
		{
			name: "a snapshot that ends with Raft's own entries", log: span{3, 9}, snapshot: taken(6, 4), applied: 4,
			wantLog: span{3, 9}, member: true,
		},
		{
			name: "a log that begins right behind the snapshot", log: span{7, 9}, snapshot: taken(6, 6), applied: 6,
			wantLog: span{7, 9}, member: true,
		},

		{name: "an installed snapshot and no log", snapshot: installed(20, 2, 20), applied: 20, member: true},
		{
			name: "an installed snapshot, the old log still there", log: span{1, 9}, snapshot: installed(20, 2, 20),
			applied: 20, member: true,
		},
		{
			name: "an installed snapshot, the log disagrees", log: span{1, 30}, snapshot: installed(20, 2, 20), applied: 20,
			member: true,
		},
		{
			name: "an installed snapshot, the log goes on from it", log: span{1, 30}, snapshot: installed(20, 1, 20),
			applied: 25, wantLog: span{1, 30}, member: true,
		},
		{
			name: "an installed snapshot, the log begins behind it", log: span{21, 30}, snapshot: installed(20, 2, 20),
			applied: 25, wantLog: span{21, 30}, member: true,
		},
		{
			name: "an installed snapshot, a hole behind it", log: span{25, 30}, snapshot: installed(20, 2, 20), applied: 20,
			member: true,
		},

		{name: "a member without anything", member: true, want: "its log is gone"},
		{
			name: "the log is shorter than the snapshot taken", log: span{1, 5}, snapshot: taken(6, 6), applied: 6,
			member: true, want: "the log ends at entry 5",
		},
		{
			name: "the log is gone behind a snapshot taken", snapshot: taken(6, 6), applied: 6, member: true,
			want: "the log ends at entry 0",
		},
		{
			name: "the state is older than the snapshot", log: span{1, 9}, snapshot: taken(6, 6), applied: 5, member: true,
			want: "the state ends at entry 5",
		},
		{name: "the state is ahead of the log", log: span{1, 9}, applied: 10, member: true, want: "applied entry 10"},
		{name: "the state is ahead of everything", applied: 3, want: "applied entry 3"},
		{name: "the log has no beginning", log: span{4, 9}, member: true, want: "the log begins at entry 4"},
		{
			name: "a hole between snapshot and log", log: span{9, 12}, snapshot: taken(6, 6), applied: 12, member: true,
			want: "the log begins at entry 9",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := raft.NewInmemStore()
			for i := test.log.first; i > 0 && i <= test.log.last; i++ {
				if err := log.StoreLog(logAt(i, 1, "")); err != nil {
					t.Fatal(err)
				}
			}
			dir := t.TempDir()
			machine := openTestMachine(t, dir)
			machine.state.Index, machine.state.Term = test.applied, 1
			snapshots := openTestSnapshots(t, dir, machine)
			if test.snapshot != nil {
				if err := snapshots.put(*test.snapshot); err != nil {
					t.Fatal(err)
				}
			}
			err := recoverStart(log, snapshots, machine, test.member)
			if test.want != "" {
				if !errors.Is(err, raftlog.ErrReseed) || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, want a refusal because %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			first, last, err := bounds(log)
			if err != nil || last != test.wantLog.last || last != 0 && first != test.wantLog.first {
				t.Errorf("the log is %d to %d (%v), want %+v", first, last, err, test.wantLog)
			}
		})
	}
}

func openTestSnapshots(t *testing.T, dir string, machine Machine) *snapshotStore {
	t.Helper()
	s, err := openSnapshotStore(filepath.Join(dir, "snapshots"), machine, &configHistory{}, noFatal(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestInstallSurvivesACrashAtEveryStep receives a snapshot and stops at each of
// its steps; a start from there ends with the old state or with the new one,
// whole, and with a log that fits.
func TestInstallSurvivesACrashAtEveryStep(t *testing.T) {
	source := openTestMachine(t, t.TempDir())
	source.BeginEntry(50, 3, 1000)
	source.ApplyBatch(Session{1}, 1, 0, [][]byte{[]byte("new")})
	if err := source.Flush(); err != nil {
		t.Fatal(err)
	}
	steps := []string{"half received", "renamed", "received", "restored", "settled"}
	for at, step := range steps {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			machine := openTestMachine(t, dir)
			machine.BeginEntry(5, 1, 500)
			machine.ApplyBatch(Session{2}, 1, 0, [][]byte{[]byte("old")})
			if err := machine.Flush(); err != nil {
				t.Fatal(err)
			}
			log := raft.NewInmemStore()
			for i := uint64(1); i <= 9; i++ {
				if err := log.StoreLog(logAt(i, 1, "")); err != nil {
					t.Fatal(err)
				}
			}
			snapshots := openTestSnapshots(t, dir, machine)
			sink, err := snapshots.Create(1, 50, 3, raft.Configuration{}, 2, nil)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case at == 0:
				if _, err := sink.Write(source.durable[:len(source.durable)/2]); err != nil {
					t.Fatal(err)
				}
			case at == 1:
				if err := os.WriteFile(snapshots.installPath(), source.durable, 0o600); err != nil {
					t.Fatal(err)
				}
			case at >= 2:
				if _, err := sink.Write(source.durable); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(sink.Close(), sink.Close()); err != nil {
					t.Fatal(err)
				}
			}
			if at >= 3 {
				_, r, err := snapshots.Open("")
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(machine.Restore(r), r.Close()); err != nil {
					t.Fatal(err)
				}
			}
			if at >= 4 {
				if err := snapshots.settle(); err != nil {
					t.Fatal(err)
				}
			}

			// The process ends here; another one starts.
			machine = openTestMachine(t, dir)
			snapshots = openTestSnapshots(t, dir, machine)
			if err := recoverStart(log, snapshots, machine, true); err != nil {
				t.Fatal(err)
			}
			applied, _ := machine.Applied()
			first, last, err := bounds(log)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case at < 2 && (applied != 5 || last != 9):
				t.Errorf("the state is at %d and the log %d to %d, want the old ones", applied, first, last)
			case at >= 2 && (applied != 50 || last != 0 || machine.commands()[0] != "new"):
				t.Errorf("the state is at %d and the log %d to %d, want the new state and no log", applied, first, last)
			}
			files, err := os.ReadDir(snapshots.dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if file.Name() != "snapshot.json" {
					t.Errorf("%s was left behind", file.Name())
				}
			}
		})
	}
}

func TestSnapshotTakenEarlierDoesNotReplaceANewerOne(t *testing.T) {
	dir := t.TempDir()
	machine := openTestMachine(t, dir)
	machine.BeginEntry(10, 1, 1)
	snapshots := openTestSnapshots(t, dir, machine)
	sink, err := snapshots.Create(1, 10, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshots.put(snapshotRecord{Meta: raft.SnapshotMeta{Index: 50, Term: 2}, Installed: true}); err != nil {
		t.Fatal(err)
	}
	if err := (&stateSnapshot{machine: machine, state: 10}).Persist(sink); !errors.Is(err, errOlderSnapshot) {
		t.Errorf("Persist returned %v", err)
	}
	if record, _ := snapshots.newest(); record.Meta.Index != 50 {
		t.Errorf("the newest snapshot is that of %d", record.Meta.Index)
	}
}

// TestASnapshotIsOfOneMoment opens a snapshot after the state has moved on: what
// its meta says must be true of the state that is read.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	dir := t.TempDir()
	machine := openTestMachine(t, dir)
	snapshots := openTestSnapshots(t, dir, machine)
	before := raft.Configuration{Servers: []raft.Server{{ID: "a"}}}
	after := raft.Configuration{Servers: []raft.Server{{ID: "a"}, {ID: "b"}}}
	snapshots.configs.add(1, before)
	machine.BeginEntry(10, 1, 1)
	take := func(index uint64) {
		t.Helper()
		sink, err := snapshots.Create(1, index, 1, before, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := (&stateSnapshot{machine: machine, state: 10}).Persist(sink); err != nil {
			t.Fatal(err)
		}
	}
	check := func(index, term, configIndex uint64, config raft.Configuration) {
		t.Helper()
		meta, r, err := snapshots.Open("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if meta.Index != index || meta.Term != term || meta.ConfigurationIndex != configIndex ||
			len(meta.Configuration.Servers) != len(config.Servers) {
			t.Errorf("meta is %+v, want %d/%d with the configuration of %d", meta, index, term, configIndex)
		}
		if meta.Size != int64(len(machine.durable)) {
			t.Errorf("size is %d, want %d", meta.Size, len(machine.durable))
		}
	}
	take(12) // entries 11 and 12 are Raft's own
	check(12, 1, 1, before)

	snapshots.configs.add(14, after)
	machine.BeginEntry(13, 2, 2)
	if err := machine.Flush(); err != nil {
		t.Fatal(err)
	}
	check(13, 2, 1, before)
	machine.BeginEntry(14, 2, 0)
	machine.BeginEntry(15, 2, 3)
	check(13, 2, 1, before) // not durable yet, so not part of it
	if err := machine.Flush(); err != nil {
		t.Fatal(err)
	}
	check(15, 2, 14, after)
}

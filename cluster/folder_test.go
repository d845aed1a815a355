package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/cluster/raftlog"
)

func TestReplayGoesToTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	node := tc.nodes[0]
	if err := node.machine.Flush(); err != nil {
		t.Fatal(err)
	}
	early, err := os.ReadFile(node.machine.path)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range node.submitAll(50, "command %d") {
		if r.Err != nil {
			t.Fatalf("command %d: %v", i, r.Err)
		}
	}
	want := node.machine.commands()
	if _, err := OpenFolder(node.cfg.Dir); !errors.Is(err, ErrInUse) {
		t.Errorf("the folder of a node that runs: %v", err)
	}
	node.stop(t)

	folder, err := OpenFolder(node.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := folder.Owner()
	if err != nil || owner.NodeID != node.id || owner.Name != "node1" || !slices.Equal(owner.Members, []string{"node1"}) {
		t.Errorf("the owner is %+v, %v", owner, err)
	}
	copied := t.TempDir()
	if err := os.WriteFile(filepath.Join(copied, "machine"), early, 0o600); err != nil {
		t.Fatal(err)
	}
	machine := openTestMachine(t, copied)
	if err := folder.Replay(machine, testLogger()); err != nil {
		t.Fatal(err)
	}
	if got := machine.commands(); !slices.Equal(got, want) {
		t.Errorf("%d of %d commands were replayed", len(got), len(want))
	}
	if err := folder.Close(); err != nil {
		t.Fatal(err)
	}
	// The folder is what it was: the node goes on.
	again := tc.start("node1", 1, "node1")
	if err := again.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
}

func TestReplayRefusesALogWithoutItsEnd(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	node := tc.nodes[0]
	node.submitAll(10, "command %d")
	if err := node.machine.Flush(); err != nil {
		t.Fatal(err)
	}
	node.stop(t)
	if err := os.RemoveAll(filepath.Join(node.cfg.Dir, "raft")); err != nil {
		t.Fatal(err)
	}
	folder, err := OpenFolder(node.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := folder.Replay(openTestMachine(t, node.cfg.Dir), testLogger()); !errors.Is(err, raftlog.ErrReseed) {
		t.Errorf("got %v", err)
	}
}

func TestOwnerOfAnEmptyFolder(t *testing.T) {
	folder, err := OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if _, err := folder.Owner(); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("got %v", err)
	}
}

// A founded node leads at once, and hands its state to whoever joins: there is no
// log from which they could get it.
func TestFoundedNodeIsACluster(t *testing.T) {
	t.Parallel()
	tc := &testCluster{t: t, root: t.TempDir()}
	t.Cleanup(func() {
		for _, node := range tc.nodes {
			node.stop(t)
		}
	})
	dir := filepath.Join(tc.root, "node1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	machine := openTestMachine(t, dir)
	machine.BeginEntry(1, 1, 1000)
	machine.ApplyBatch(Session{1}, 1, 0, [][]byte{[]byte("from before")})
	if err := machine.Flush(); err != nil {
		t.Fatal(err)
	}
	cluster := uuid.NewString()
	if err := BootstrapFolder(dir, cluster); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		name := fmt.Sprintf("node%d", i+1)
		tc.start(name, 3, name)
	}
	tc.ready()
	if r := tc.nodes[2].Apply(within(t), []byte("from now")); r.Err != nil {
		t.Fatal(r.Err)
	}
	if got := tc.agree(2); !slices.Equal(got, []string{"from before", "from now"}) {
		t.Errorf("they agree on %q", got)
	}
	for _, node := range tc.nodes {
		if _, id := node.ID(); id != cluster {
			t.Errorf("%s is in cluster %s", node.cfg.NodeName, id)
		}
	}
}

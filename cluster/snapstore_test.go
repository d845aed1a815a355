package cluster

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/watchdog"
)

// A sender that was paused in the middle never fails, so the receiver has to
// notice; a snapshot of its own has no sender.
func TestASnapshotThatStopsArrivingIsNoticed(t *testing.T) {
	dir := t.TempDir()
	machine := openTestMachine(t, dir)
	s, err := openSnapshotStore(filepath.Join(dir, "snapshots"), machine, &configHistory{}, noFatal(t))
	if err != nil {
		t.Fatal(err)
	}
	stalled := make(chan string, 10)
	s.waits = watchdog.New(100*time.Millisecond, func(id string, _ time.Duration) { stalled <- id })
	defer s.waits.Close()
	create := func(index uint64) raft.SnapshotSink {
		sink, err := s.Create(raft.SnapshotVersionMax, index, 1, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		return sink
	}
	if err := (&stateSnapshot{machine: machine}).Persist(create(1)); err != nil {
		t.Fatal(err)
	}
	whole := create(2)
	if _, err := whole.Write([]byte("bytes")); err != nil {
		t.Fatal(err)
	}
	if err := whole.Close(); err != nil {
		t.Fatal(err)
	}
	partial := create(3)
	if _, err := partial.Write([]byte("bytes")); err != nil {
		t.Fatal(err)
	}
	select {
	case id := <-stalled:
		if id != partial.ID() {
			t.Errorf("snapshot %s is blamed, not %s", id, partial.ID())
		}
	case <-time.After(patience):
		t.Fatal("nobody noticed")
	}
	if len(stalled) > 0 {
		t.Errorf("snapshot %s is blamed as well", <-stalled)
	}
	if _, err := partial.Write([]byte("at last")); err != nil {
		t.Error(err)
	}
	if err := partial.Cancel(); err != nil {
		t.Error(err)
	}
}

func TestRaftSurvivesThatItsConnectionsAreCut(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	for _, node := range tc.nodes {
		if r := tc.nodes[0].Apply(within(t), []byte("before")); r.Err != nil {
			t.Fatal(r.Err)
		}
		node.port.CutRaft()
		if r := tc.nodes[0].Apply(within(t), []byte("after")); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

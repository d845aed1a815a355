package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/watchdog"
)

// stallIn blocks a node's machine at a command until free is called.
func stallIn(t *testing.T, node *testNode, command string) (free func()) {
	t.Helper()
	blocked := make(chan struct{})
	node.machine.mu.Lock()
	node.machine.onApply = func(applied string) {
		if applied == command {
			<-blocked
		}
	}
	node.machine.mu.Unlock()
	t.Cleanup(func() {
		select {
		case <-blocked:
		default:
			close(blocked)
		}
	})
	return func() { close(blocked) }
}

// awaitApplied waits until a node has applied so many commands.
func awaitApplied(t *testing.T, node *testNode, count int) {
	t.Helper()
	eventually(t, func() error {
		if n := len(node.machine.commands()); n < count {
			return fmt.Errorf("%s has %d of %d commands", node.cfg.NodeName, n, count)
		}
		return nil
	})
}

// A leader that does not get on applying knows of less than the followers have
// applied. What it says of the log's end must be what is committed all the same.
func TestReadIndexOfALeaderThatDoesNotApply(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	leader := tc.leader()
	follower := tc.follower()
	tc.nodes[0].submitAll(1, "command %d")
	tc.agree(1)
	free := stallIn(t, leader, "stuck")
	follower.Submit([][]byte{[]byte("stuck")}, func(int, Result) {})
	awaitApplied(t, follower, 2)
	applied, _ := follower.applier.progress()
	eventually(t, func() error {
		v, err := follower.askReadIndex(within(t))
		if err != nil {
			return err
		}
		if v.Index < applied {
			t.Fatalf("the leader says that the log reaches %d, a follower has applied %d", v.Index, applied)
		}
		return nil
	})
	free()
	tc.agree(2)
}

// What Raft keeps to itself is never applied, so a read must not wait for it.
func TestReadIndexSkipsWhatRaftKeepsToItself(t *testing.T) {
	a, _ := testApplier(t, someEntries{2: raft.LogNoop, 3: raft.LogCommand, 4: raft.LogBarrier, 5: raft.LogNoop})
	a.ApplyBatch([]*raft.Log{configured(1)})
	for committed, want := range map[uint64]uint64{0: 1, 1: 1, 2: 1, 3: 3, 5: 3, 6: 6} {
		if got := a.reach(committed); got != want {
			t.Errorf("of what is committed up to %d the machine gets %d, want %d", committed, got, want)
		}
	}
}

func TestStalledLeaderHandsOver(t *testing.T) {
	t.Parallel()
	stalls := make(map[string]*StallWatch)
	fatal := make(chan error, 3)
	tc := newTestCluster(t, 3, func(c *Config) {
		c.Stalls = NewStallWatch(300*time.Millisecond, func(err error) { fatal <- err })
		stalls[c.NodeName] = c.Stalls
	})
	t.Cleanup(func() {
		for _, watch := range stalls {
			_ = watch.Close()
		}
	})
	tc.nodes[0].submitAll(1, "command %d")
	tc.agree(1)
	leader := tc.leader()
	term := leader.Term()
	follower := tc.follower()
	stallIn(t, leader, "stuck")
	follower.Submit([][]byte{[]byte("stuck")}, func(int, Result) {})
	eventually(t, func() error {
		if what := leader.Stalled(); !strings.Contains(what, "apply an entry has not finished for") {
			return fmt.Errorf("its stall is %q", what)
		}
		return nil
	})
	eventually(t, func() error {
		if m, ok := follower.Leader(); !ok || m.ID == leader.id || follower.Term() == term {
			return errors.New("the stalled node leads on")
		}
		return nil
	})
	select {
	case err := <-fatal:
		if !strings.Contains(err.Error(), "the disk hangs") {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("a stall that does not end does not end the node")
	}
}

// A cluster in which all others are stalled keeps its leader.
func TestStalledNodesAreNotMadeLeaders(t *testing.T) {
	t.Parallel()
	stalls := make(map[string]*StallWatch)
	tc := newTestCluster(t, 3, func(c *Config) {
		const tick = 30 * time.Millisecond
		// A stall is borne for longer than the test takes: one that is over counts no more.
		c.Stalls = &StallWatch{watchdog.NewWithTicks(time.Hour, int(time.Hour/tick), func(string, time.Duration) {})}
		stalls[c.NodeName] = c.Stalls
	})
	t.Cleanup(func() {
		for _, watch := range stalls {
			_ = watch.Close()
		}
	})
	leader := tc.leader()
	for name, watch := range stalls {
		if name != leader.cfg.NodeName {
			defer watch.Watch("write the state")()
		}
	}
	eventually(t, func() error {
		for _, other := range leader.others() {
			if what, ok := leader.health.reachable(string(other.ID), time.Now()); !ok || !what.Stalled {
				return fmt.Errorf("the leader has not heard that %s is stalled", other.ID)
			}
		}
		return nil
	})
	if to := leader.successors(time.Now()); len(to) > 0 {
		t.Errorf("stalled nodes may be made the leader: %v", to)
	}
	if err := leader.TransferLeadership(within(t)); err == nil || leader.raft.State() != raft.Leader {
		t.Errorf("a stalled node was made the leader: %v", err)
	}
}

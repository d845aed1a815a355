package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEveryNodeAppliesTheSameSequence(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	const each = 200
	var submitting sync.WaitGroup
	for _, node := range tc.nodes {
		submitting.Go(func() {
			for i, r := range node.submitAll(each, node.cfg.NodeName+" %d") {
				if r.Err != nil {
					t.Errorf("%s, command %d: %v", node.cfg.NodeName, i, r.Err)
				}
			}
		})
	}
	submitting.Wait()
	commands := tc.agree(3 * each)
	if len(commands) != 3*each {
		t.Fatalf("%d commands were applied, want %d", len(commands), 3*each)
	}
	for _, node := range tc.nodes {
		assertOrder(t, commands, node.cfg.NodeName, each)
	}
}

// assertOrder checks that a submitter's commands are all there, once and in
// order.
func assertOrder(t *testing.T, commands []string, submitter string, count int) {
	t.Helper()
	var own []string
	for _, command := range commands {
		if strings.HasPrefix(command, submitter+" ") {
			own = append(own, command)
		}
	}
	want := make([]string, count)
	for i := range want {
		want[i] = fmt.Sprintf("%s %d", submitter, i)
	}
	if !slices.Equal(own, want) {
		t.Errorf("commands of %s are lost, doubled or out of order: %d of %d, %v", submitter, len(own), count,
			firstDifference(own, want))
	}
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at %d %q instead of %q", i, got[i], want[i])
		}
	}
	return "at the end"
}

func TestPublishingOutlivesTheLeader(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	leader := tc.leader()
	const each = 400
	var submitting sync.WaitGroup
	half := make(chan struct{})
	for _, node := range tc.nodes {
		if node == leader {
			continue
		}
		submitting.Go(func() {
			for i := range each {
				if i == each/2 {
					half <- struct{}{}
				}
				if r := node.Apply(within(t), fmt.Appendf(nil, "%s %d", node.cfg.NodeName, i)); r.Err != nil {
					t.Errorf("%s, command %d: %v", node.cfg.NodeName, i, r.Err)
				}
			}
		})
	}
	<-half
	leader.kill(t)
	<-half
	submitting.Wait()
	commands := tc.agree(2 * each)
	for _, node := range tc.running() {
		assertOrder(t, commands, node.cfg.NodeName, each)
	}

	t.Run("and the old leader comes back", func(t *testing.T) {
		tc.start(leader.cfg.NodeName, 3, leader.cfg.NodeName)
		tc.ready()
		if again := tc.agree(len(commands)); !slices.Equal(again, commands) {
			t.Error("the history has changed")
		}
	})
}

func TestAllNodesRestart(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	before := tc.nodes[1].submitAll(50, "before %d")
	commands := tc.agree(50)
	id, cluster := tc.nodes[0].ID()
	for _, node := range tc.running() {
		node.kill(t)
	}
	for _, name := range []string{"node1", "node2", "node3"} {
		tc.start(name, 3, name)
	}
	tc.ready()
	if again := tc.agree(len(commands)); !slices.Equal(again, commands) {
		t.Errorf("after the restart: %d commands, before: %d", len(again), len(before))
	}
	if id2, cluster2 := tc.running()[0].ID(); id != id2 || cluster != cluster2 {
		t.Errorf("identity changed from %s of %s to %s of %s", id, cluster, id2, cluster2)
	}
	for i, r := range tc.running()[2].submitAll(50, "after %d") {
		if r.Err != nil {
			t.Errorf("command %d: %v", i, r.Err)
		}
	}
	tc.agree(100)
}

func TestALaggingNodeGetsASnapshotAndThenTheLog(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, func(c *Config) {
		c.SnapshotEntries = 100
		c.TrailingBytes = 1
	})
	lagging := tc.follower()
	lagging.kill(t)
	restoredBefore := lagging.machine.restored
	leader := tc.leader()
	for i := range 400 { // one by one, so that each is an entry
		if r := leader.Apply(within(t), fmt.Appendf(nil, "%s %d", leader.cfg.NodeName, i)); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	eventually(t, func() error {
		for _, node := range tc.running() {
			first, err := node.logs.FirstIndex()
			if err != nil {
				return err
			}
			if first < 200 {
				return fmt.Errorf("the log of %s still begins at %d", node.cfg.NodeName, first)
			}
		}
		return nil
	})
	back := tc.start(lagging.cfg.NodeName, 3, lagging.cfg.NodeName)
	tc.ready()
	tc.agree(400)
	if back.machine.restored == restoredBefore {
		t.Error("the node caught up without a snapshot")
	}
	if r := back.Apply(within(t), []byte("after")); r.Err != nil {
		t.Fatal(r.Err)
	}
	tc.agree(401)
	members := back.Members()
	if len(members) != 3 {
		t.Errorf("after the snapshot the node knows %d members", len(members))
	}

	t.Run("and starts again from what it installed", func(t *testing.T) {
		back.kill(t)
		tc.start(lagging.cfg.NodeName, 3, lagging.cfg.NodeName)
		tc.ready()
		tc.agree(401)
	})
}

func TestWithoutAMajorityCommandsFailInTime(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, func(c *Config) { c.SubmitTimeout = time.Second })
	survivor := tc.follower()
	for _, node := range tc.running() {
		if node != survivor {
			node.kill(t)
		}
	}
	eventually(t, func() error {
		if _, leader := survivor.raft.LeaderWithID(); leader != "" {
			return errors.New("the node still believes in a leader")
		}
		return nil
	})
	begin := time.Now()
	r := survivor.Apply(within(t), []byte("lonely"))
	if !errors.Is(r.Err, ErrUnavailable) {
		t.Errorf("the command failed with %v, want ErrUnavailable", r.Err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := survivor.CatchUp(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("CatchUp returned %v, want ErrUnavailable", err)
	}
	stale := survivor.Staleness()
	eventually(t, func() error {
		if survivor.Staleness() < stale+100*time.Millisecond {
			return errors.New("the proof of freshness does not grow old")
		}
		return nil
	})
}

func TestCatchUpSeesWhatWasAcknowledgedElsewhere(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, func(c *Config) { c.WithoutNudge = true })
	for i := range 30 {
		writer, reader := tc.nodes[i%3], tc.nodes[(i+1)%3]
		if r := writer.Apply(within(t), fmt.Appendf(nil, "write %d", i)); r.Err != nil {
			t.Fatal(r.Err)
		}
		if err := reader.CatchUp(within(t)); err != nil {
			t.Fatal(err)
		}
		if got := len(reader.machine.commands()); got != i+1 {
			t.Fatalf("after command %d the reader has %d", i+1, got)
		}
		if stale := reader.Staleness(); stale > patience {
			t.Fatalf("after catching up the node is stale by %s", stale)
		}
	}
}

func TestWaitEverywhere(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, func(c *Config) { c.WithoutNudge = true })
	for i := range 20 {
		// Members that have not been heard of lately, on a busy machine, would not
		// be waited for.
		eventually(t, func() error {
			for _, m := range tc.nodes[0].Members() {
				if !m.Alive {
					return fmt.Errorf("%s is not alive", m.Name)
				}
			}
			return nil
		})
		r := tc.nodes[0].Apply(within(t), fmt.Appendf(nil, "write %d", i))
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if err := tc.nodes[0].WaitEverywhere(within(t), r.Index); err != nil {
			t.Fatal(err)
		}
		for _, node := range tc.nodes {
			if got := len(node.machine.commands()); got != i+1 {
				t.Fatalf("%s has %d commands, want %d", node.cfg.NodeName, got, i+1)
			}
		}
	}
}

func TestQueryReachesTheNodeThatIsMeant(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	for _, to := range tc.nodes {
		answer, err := tc.nodes[0].Query(within(t), to.id, []byte("hi"))
		if err != nil {
			t.Fatal(err)
		}
		if want := to.cfg.NodeName + " heard hi"; string(answer) != want {
			t.Errorf("answer is %q, want %q", answer, want)
		}
	}
}

func TestMessagesArriveInOrder(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	from, to := tc.nodes[0], tc.nodes[2]
	for i := range 50 {
		if _, err := from.Send(within(t), to.id, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	to.received.Lock()
	defer to.received.Unlock()
	for i, text := range to.messages {
		if want := fmt.Sprintf("%s %d", from.id, i); text != want {
			t.Errorf("message %d is %q, want %q", i, text, want)
		}
	}
	if len(to.messages) != 50 {
		t.Errorf("%d messages arrived", len(to.messages))
	}
}

func TestTransferLeadership(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	leader := tc.leader()
	eventually(t, func() error { return leader.TransferLeadership(within(t)) })
	eventually(t, func() error {
		if now := tc.leader(); now == leader {
			return errors.New("the old leader still leads")
		}
		return nil
	})
	if r := leader.Apply(within(t), []byte("after")); r.Err != nil {
		t.Error(r.Err)
	}
}

// TestACrashWhileForming starts from what is on the disk when a node has agreed
// to a cluster and Raft knows nothing of it yet.
// TestAWipedLogIsRefused: a member that has forgotten its votes must not vote
// under its old id.

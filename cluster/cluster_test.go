package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
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
		t.Errorf("commands of %s are lost, doubled or out of order: %d of %d, %v", submitter, len(own), count, firstDifference(own, want))
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

func TestAFourthNodeJoins(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	tc.nodes[0].submitAll(20, "early %d")
	fourth := tc.start("node4", 3, "node4")
	if err := fourth.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	tc.agree(20)
	for i, r := range fourth.submitAll(20, "late %d") {
		if r.Err != nil {
			t.Errorf("command %d: %v", i, r.Err)
		}
	}
	tc.agree(40)
	eventually(t, func() error {
		for _, m := range fourth.Members() {
			if !m.Voter || !m.Alive {
				return fmt.Errorf("%s: voter %v, alive %v", m.Name, m.Voter, m.Alive)
			}
			if string(m.Extra) != "extra of "+m.Name {
				return fmt.Errorf("%s: extra is %q", m.Name, m.Extra)
			}
		}
		return nil
	})
	if fourth.Bootstrapped() {
		t.Error("a node that joined says that it formed the cluster")
	}
}

func TestAWipedNodeComesBackAsANewMember(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, func(c *Config) { c.NameFreeAfter = time.Second })
	tc.nodes[0].submitAll(20, "early %d")
	wiped := tc.follower()
	name, oldID := wiped.cfg.NodeName, wiped.id
	wiped.kill(t)
	var back *testNode
	eventually(t, func() error { // while the old one was heard of lately, it is refused
		back = tc.start(name, 3, "wiped")
		err := back.Ready(within(t))
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrNameTaken) {
			t.Fatal(err)
		}
		back.stop(t)
		if err := os.RemoveAll(back.cfg.Dir); err != nil {
			t.Fatal(err)
		}
		return err
	})
	if back.id == oldID {
		t.Fatal("the wiped node has its old id")
	}
	tc.agree(20)
	eventually(t, func() error {
		members := tc.leader().Members()
		if len(members) != 3 {
			return fmt.Errorf("there are %d members", len(members))
		}
		for _, m := range members {
			if m.ID == oldID || !m.Voter {
				return fmt.Errorf("%s is %s, voter %v", m.Name, m.ID, m.Voter)
			}
		}
		return nil
	})
}

func TestTwoNodesOfOneName(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	twin := tc.start("node1", 3, "twin")
	if err := twin.Ready(within(t)); !errors.Is(err, ErrNameTaken) {
		t.Errorf("Ready returned %v, want ErrNameTaken", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	member := tc.nodes[0]
	self, cluster := member.ID()
	greet := func(secret string, h hello) (helloAck, error) {
		conn, err := net.Dial("tcp", member.PeerAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		config, err := peerTLS(secret)
		if err != nil {
			t.Fatal(err)
		}
		config.VerifyConnection = nil // a stranger trusts anybody
		secured := tls.Client(conn, config)
		if _, err := secured.Write(h.encode()); err != nil {
			return helloAck{}, err
		}
		b, err := readExactly(secured, helloAckBytes)
		if err != nil {
			return helloAck{}, err
		}
		return decodeHelloAck(b)
	}
	good := hello{purpose: purposeRaft, cluster: uuid.MustParse(cluster), from: uuid.New(), to: uuid.MustParse(self)}
	with := func(change func(*hello)) hello {
		h := good
		change(&h)
		return h
	}
	const secret = "a secret of the tests"
	for _, test := range []struct {
		name string
		h    hello
		code error
	}{
		{"a member", good, nil},
		{"another cluster", with(func(h *hello) { h.cluster = uuid.New() }), ErrWrongCluster},
		{"no cluster, for Raft", with(func(h *hello) { h.cluster = uuid.Nil }), ErrNotMember},
		{"no cluster, to join", with(func(h *hello) { h.cluster, h.purpose = uuid.Nil, purposeRPC }), nil},
		{"another node was meant", with(func(h *hello) { h.to = uuid.New() }), errWrongNode},
	} {
		t.Run(test.name, func(t *testing.T) {
			ack, err := greet(secret, test.h)
			if err != nil {
				t.Fatal(err)
			}
			if test.code == nil {
				if ack.code != 0 {
					t.Errorf("refused with %d", ack.code)
				}
			} else if got := decodeError(ack.code, ""); !errors.Is(got, test.code) {
				t.Errorf("answered %v, want %v", got, test.code)
			}
		})
	}
	t.Run("another secret", func(t *testing.T) {
		if ack, err := greet("another secret", good); err == nil {
			t.Errorf("a stranger got an answer: %+v", ack)
		}
	})
	t.Run("plain bytes", func(t *testing.T) {
		conn, err := net.Dial("tcp", member.PeerAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(good.encode()); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(conn)
		if bytes.Contains(answer, uuid.MustParse(self).NodeID()) || len(answer) == helloAckBytes {
			t.Errorf("a plain hello was answered: %x", answer)
		}
	})
}

func TestAnOutsiderMayOnlyJoin(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	member := tc.nodes[0]
	config, err := peerTLS("a secret of the tests")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	outsider := newPeerPort(listener, config, uuid.New(), testLogger())
	outsider.cluster = func() uuid.UUID { return uuid.Nil }
	outsider.resolve = func(string) (string, error) { return member.PeerAddr(), nil }
	pool := newRPCPool(outsider)
	defer pool.close()
	defer outsider.close()
	if _, err := pool.call(within(t), member.id, methodReadIndex, []byte("{}")); !errors.Is(err, ErrNotMember) {
		t.Errorf("read-index for an outsider: %v", err)
	}
	if _, err := pool.call(within(t), member.id, methodSubmit, nil); !errors.Is(err, ErrNotMember) {
		t.Errorf("submit by an outsider: %v", err)
	}
}

func TestASingleNodeFormsAlone(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	node := tc.nodes[0]
	if !node.Bootstrapped() {
		t.Error("the node does not know that it formed the cluster")
	}
	for i, r := range node.submitAll(10, "alone %d") {
		if r.Err != nil || string(r.Data) != fmt.Sprint(i+1) {
			t.Errorf("command %d: %q, %v", i, r.Data, r.Err)
		}
	}
}

func TestANodeThatJoinsOthersNeverFormsAlone(t *testing.T) {
	t.Parallel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := nobody.Addr().String()
	nobody.Close()
	tc := &testCluster{t: t, root: t.TempDir(), tune: func(c *Config) { c.Join = []string{address} }}
	node := tc.start("node1", 1, "node1")
	defer node.stop(t)
	ctx, cancel := context.WithTimeout(context.Background(), 4*formInterval)
	defer cancel()
	if err := node.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ready returned %v", err)
	}
	if _, cluster := node.ID(); cluster != "" {
		t.Error("the node formed a cluster")
	}
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
	eventually(t, func() error {
		for _, m := range tc.nodes[0].Members() {
			if !m.Alive {
				return fmt.Errorf("%s is not alive", m.Name)
			}
		}
		return nil
	})
	for i := range 20 {
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

func TestRemove(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	gone := tc.follower()
	var asking *testNode
	for _, node := range tc.nodes {
		if node != gone {
			asking = node
		}
	}
	if err := asking.Remove(within(t), "nobody"); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("removing nobody: %v", err)
	}
	if err := asking.Remove(within(t), gone.cfg.NodeName); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := len(asking.Members()); n != 2 {
			return fmt.Errorf("there are %d members", n)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := gone.CatchUp(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a removed node still catches up: %v", err)
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

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	if _, err := tc.tryStart("node1", 1, "node1"); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second opener got %v", err)
	}
}

package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/cluster/raftlog"
)

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
	back := tc.start(name, 3, "wiped") // while the old one was heard of lately, it waits
	if err := back.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
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

// A name in use may be free in a moment, so the node waits; it says why at once, since
// the other may be there to stay.
func TestANodeWaitsForItsName(t *testing.T) {
	t.Parallel()
	logged := &lockedBuffer{}
	tc := newTestCluster(t, 3, func(c *Config) { c.NameFreeAfter = time.Second })
	tc.tune = func(c *Config) {
		c.NameFreeAfter = time.Second
		c.Logger = slog.New(slog.NewTextHandler(logged, nil))
	}
	first := tc.follower()
	second := tc.start(first.cfg.NodeName, 3, "second")
	logged.await(t, "level=ERROR msg=\"the name of this node is in use", "--node-name",
		"same node name: "+first.cfg.NodeName)
	select {
	case <-second.ready:
		t.Fatalf("it did not wait: %v", second.readyErr)
	default:
	}
	first.kill(t)
	if err := second.Ready(within(t)); err != nil {
		t.Errorf("once the other is silent: %v", err)
	}
}

// Nodes that cannot form a cluster, because two have one name, say so at once, and
// each of them.
func TestNodesOfOneNameSaySo(t *testing.T) {
	t.Parallel()
	var logs []*lockedBuffer
	tc := &testCluster{t: t, root: t.TempDir()}
	t.Cleanup(func() {
		for _, node := range tc.nodes {
			node.stop(t)
		}
	})
	for i := range 3 {
		log := &lockedBuffer{}
		logs = append(logs, log)
		tc.tune = func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) }
		tc.start("web", 3, fmt.Sprint("folder", i))
	}
	for i, log := range logs {
		log.await(t, "level=ERROR msg=\"nodes with the same name", "--node-name", "web, at ")
		if tc.nodes[i].identity.read().ClusterID != "" {
			t.Errorf("node %d has a cluster", i)
		}
	}
}

// A name that DNS learns of only once the node runs is waited for. So is the right address
// behind one that leads where this machine was before, as that of a pod does for a while.
func TestAdvertisedNameThatComesLate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		before func() ([]net.IP, error) // what DNS says at first
		said   []string
	}{
		{"no name", func() ([]net.IP, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "localhost", IsNotFound: true}
		}, []string{"not in DNS yet", "advertise=localhost"}},
		{"an address of before", func() ([]net.IP, error) {
			return []net.IP{net.IPv4(192, 0, 2, 1)}, nil
		}, []string{"an address that this host does not have", "192.0.2.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			logged := &lockedBuffer{}
			asked := 0
			tc := newTestCluster(t, 1, func(cfg *Config) {
				cfg.Advertise = "localhost"
				cfg.Logger = slog.New(slog.NewTextHandler(logged, nil))
				cfg.LookUp = func(context.Context, string) ([]net.IP, error) {
					if asked++; asked < 4 {
						return c.before()
					}
					return []net.IP{net.IPv4(127, 0, 0, 1)}, nil
				}
			})
			if got := tc.nodes[0].GossipAddr(); !strings.HasPrefix(got, "127.0.0.1:") || asked < 4 {
				t.Errorf("after %d questions gossip is at %s", asked, got)
			}
			logged.await(t, append(c.said, "level=WARN")...)
		})
	}
}

// A node whose --join is a name of several nodes, itself among them, is not alone.
func TestANameOfSeveralNodesIsNotOwn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addresses []net.IP
		want      bool
	}{
		{[]net.IP{net.IPv4(127, 0, 0, 1)}, true},
		{[]net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 1)}, false},
		{nil, false},
	} {
		node := &Cluster{cfg: Config{LookUp: func(context.Context, string) ([]net.IP, error) { return c.addresses, nil }}}
		if got := node.ownHost(t.Context(), "nodes.example"); got != c.want {
			t.Errorf("a name of %v is own: %v", c.addresses, got)
		}
	}
}

// A node that is told to join itself, by a name that DNS learns of late, forms its
// cluster then.
func TestANodeFindsLateThatItIsAlone(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	newTestCluster(t, 1, func(c *Config) {
		c.GossipAddr, c.Join = "127.0.0.1:"+port, []string{"late.example:" + port}
		c.LookUp = func(_ context.Context, host string) ([]net.IP, error) {
			if host == "late.example" && asked.Add(1) < 4 {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return []net.IP{net.IPv4(127, 0, 0, 1)}, nil
		}
	})
	if asked.Load() < 4 {
		t.Errorf("it was ready after %d questions", asked.Load())
	}
}

func TestUnauthenticatedClientsAreRefused(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	member := tc.nodes[0]
	self, cluster := member.ID()
	greet := func(secret string, h peer.Hello) (peer.HelloAck, error) {
		conn, err := net.Dial("tcp", member.PeerAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		proof, err := peer.NewPreauth([]string{secret})
		if err != nil {
			t.Fatal(err)
		}
		proof.TLS.VerifyConnection = nil // this client trusts every server
		secured, err := proof.Dial(t.Context(), conn)
		if err != nil {
			return peer.HelloAck{}, err
		}
		if _, err := secured.Write(h.Encode()); err != nil {
			return peer.HelloAck{}, err
		}
		b, err := peer.ReadExactly(secured, peer.HelloAckBytes)
		if err != nil {
			return peer.HelloAck{}, err
		}
		return peer.DecodeHelloAck(b)
	}
	good := peer.Hello{
		Purpose: peer.PurposeRaft, Cluster: uuid.MustParse(cluster), From: uuid.New(),
		To: uuid.MustParse(self),
	}
	with := func(change func(*peer.Hello)) peer.Hello {
		h := good
		change(&h)
		return h
	}
	const secret = "a secret of the tests"
	for _, test := range []struct {
		name string
		h    peer.Hello
		code error
	}{
		{"a member", good, nil},
		{"another cluster", with(func(h *peer.Hello) { h.Cluster = uuid.New() }), ErrWrongCluster},
		{"no cluster, for Raft", with(func(h *peer.Hello) { h.Cluster = uuid.Nil }), ErrNotMember},
		{"no cluster, to join", with(func(h *peer.Hello) { h.Cluster, h.Purpose = uuid.Nil, peer.PurposeRPC }), nil},
		{"another node was meant", with(func(h *peer.Hello) { h.To = uuid.New() }), peer.ErrWrongNode},
	} {
		t.Run(test.name, func(t *testing.T) {
			ack, err := greet(secret, test.h)
			if err != nil {
				t.Fatal(err)
			}
			if test.code == nil {
				if ack.Code != 0 {
					t.Errorf("refused with %d", ack.Code)
				}
			} else if got := peer.DecodeError(ack.Code, ""); !errors.Is(got, test.code) {
				t.Errorf("answered %v, want %v", got, test.code)
			}
		})
	}
	t.Run("another secret", func(t *testing.T) {
		if ack, err := greet("another secret", good); err == nil {
			t.Errorf("an unauthenticated client got an answer: %+v", ack)
		}
	})
	t.Run("plain bytes", func(t *testing.T) {
		conn, err := net.Dial("tcp", member.PeerAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(good.Encode()); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(conn)
		if bytes.Contains(answer, uuid.MustParse(self).NodeID()) || len(answer) == peer.HelloAckBytes {
			t.Errorf("a plain hello was answered: %x", answer)
		}
	})
}

func TestAnOutsiderMayOnlyJoin(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	member := tc.nodes[0]
	proof, err := peer.NewPreauth([]string{"a secret of the tests"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	outsider := peer.NewPort(listener, proof, uuid.New(), testLogger())
	outsider.Cluster = func() uuid.UUID { return uuid.Nil }
	outsider.Resolve = func(string) (string, error) { return member.PeerAddr(), nil }
	pool := peer.NewPool(outsider)
	defer pool.Close()
	defer outsider.Close()
	if _, err := pool.Call(within(t), member.id, peer.LaneControl, peer.MethodReadIndex, []byte("{}")); !errors.Is(err,
		ErrUnavailable) {
		t.Errorf("read-index for an outsider: %v", err)
	}
	if _, err := pool.Call(within(t), member.id, peer.LaneControl, peer.MethodSubmit, nil); !errors.Is(err,
		ErrUnavailable) {
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
	ctx, cancel := context.WithTimeout(context.Background(), 4*bootstrapInterval)
	defer cancel()
	if err := node.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ready returned %v", err)
	}
	if _, cluster := node.ID(); cluster != "" {
		t.Error("the node formed a cluster")
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	if _, err := tc.tryStart("node1", 1, "node1"); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second opener got %v", err)
	}
}

func TestWithoutASecretOnLoopback(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, func(c *Config) { c.Secrets = nil })
	for i, r := range tc.nodes[1].submitAll(20, "plain %d") {
		if r.Err != nil {
			t.Errorf("command %d: %v", i, r.Err)
		}
	}
	tc.agree(20)
}

func TestACrashWhileForming(t *testing.T) {
	t.Parallel()
	tc := &testCluster{t: t, root: t.TempDir()}
	dir := filepath.Join(tc.root, "node1")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	who, err := openIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	agreed := uuid.NewString()
	err = who.update(func(f *identityFile) {
		f.ClusterID, f.Bootstrapped = agreed, true
		f.Forming = []server{{ID: f.NodeID, Name: "node1", Peer: "127.0.0.1:1"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	node := tc.start("node1", 1, "node1")
	defer node.stop(t)
	if err := node.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	if _, cluster := node.ID(); cluster != agreed || !node.Bootstrapped() {
		t.Errorf("the node formed %s, agreed upon was %s", cluster, agreed)
	}
	if r := node.Apply(within(t), []byte("x")); r.Err != nil {
		t.Error(r.Err)
	}
}

func TestAWipedLogIsRefused(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	node := tc.nodes[0]
	node.stop(t)
	for _, folder := range []string{"raft", "snapshots", "machine"} {
		if err := os.RemoveAll(filepath.Join(node.cfg.Dir, folder)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tc.tryStart("node1", 1, "node1"); !errors.Is(err, raftlog.ErrReseed) {
		t.Errorf("the node started: %v", err)
	}
}

// Two clusters with one secret are led to each other by a wrong address.
func TestClustersKeepApart(t *testing.T) {
	t.Parallel()
	ours, theirs := newTestCluster(t, 3, nil), newTestCluster(t, 1, nil)
	foreign := theirs.nodes[0]
	follower := ours.follower()
	follower.stop(t)
	ours.tune = func(c *Config) { c.Join = []string{foreign.GossipAddr()} }
	// Its own answer too, at their remembered addresses, so it comes back.
	back := ours.start(follower.cfg.NodeName, 3, follower.cfg.NodeName)
	if err := back.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	ours.agree(0)
	if n := len(foreign.gossip.All()); n != 1 {
		t.Errorf("the other cluster gossips with %d nodes", n)
	}
	for _, node := range ours.running() {
		if _, ok := node.gossip.Find(foreign.id); ok {
			t.Errorf("%s gossips with the other cluster", node.cfg.NodeName)
		}
	}
	// One that finds nobody of its own is refused.
	for _, node := range ours.running() {
		node.kill(t)
	}
	alone := ours.start(follower.cfg.NodeName, 3, follower.cfg.NodeName)
	if err := alone.Ready(within(t)); !errors.Is(err, ErrWrongCluster) {
		t.Errorf("Ready returned %v, want ErrWrongCluster", err)
	}
}

// untilDuplicateEnds bounds the wait for the end of a duplicate. It may wait for the leader for
// duplicateLongGrace, and begins anew each time that the other process does not answer it in
// time, as on a machine that is busy.
const untilDuplicateEnds = 6 * duplicateLongGrace

// Of a stopped node and a copy of its folder, whichever the leader reaches serves.
func TestOfTwoProcessesOfANodeOneServes(t *testing.T) {
	t.Parallel()
	for _, order := range []struct{ name, first, second string }{
		{"original first", "", "copy"}, {"copy first", "copy", ""},
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %v", order.name, again), func(t *testing.T) {
				t.Parallel()
				tc := newTestCluster(t, 3, nil)
				original := tc.follower()
				name := original.cfg.NodeName
				original.stop(t)
				if err := os.CopyFS(filepath.Join(tc.root, "copy"), os.DirFS(original.cfg.Dir)); err != nil {
					t.Fatal(err)
				}
				first := tc.start(name, 3, cmp.Or(order.first, name))
				if again { // so that gossip has another name for the two
					first.stop(t)
					first = tc.start(name, 3, cmp.Or(order.first, name))
				}
				if err := first.Ready(within(t)); err != nil {
					t.Fatal(err)
				}
				second := tc.start(name, 3, cmp.Or(order.second, name))
				ctx, cancel := context.WithTimeout(t.Context(), untilDuplicateEnds)
				defer cancel()
				err := second.Ready(ctx)
				if !errors.Is(err, ErrDuplicateNode) || !strings.Contains(err.Error(), first.PeerAddr()) {
					t.Errorf("the second process got %v, want ErrDuplicateNode with %s", err, first.PeerAddr())
				}
				second.kill(t)
				if r := first.Apply(within(t), []byte("x")); r.Err != nil {
					t.Error(r.Err)
				}
			})
		}
	}
}

func TestOfTwoProcessesOfANodeThatStartTogetherOneServes(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	original := tc.follower()
	name := original.cfg.NodeName
	original.stop(t)
	if err := os.CopyFS(filepath.Join(tc.root, "copy"), os.DirFS(original.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	both := []*testNode{tc.start(name, 3, name), tc.start(name, 3, "copy")}
	ctx, cancel := context.WithTimeout(t.Context(), untilDuplicateEnds)
	defer cancel()
	served := 0
	for _, node := range both {
		switch err := node.Ready(ctx); {
		case err == nil:
			served++
		case !errors.Is(err, ErrDuplicateNode):
			t.Error(err)
		}
	}
	if served != 1 {
		t.Errorf("%d processes of a node serve", served)
	}
}

func TestACopyOfALiveNodeIsRefused(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, nil)
	original := tc.nodes[0]
	eventually(t, func() error {
		if original.identity.read().Peers[original.id].Peer != original.PeerAddr() {
			return errors.New("the node has not noted where it is")
		}
		return nil
	})
	if err := os.CopyFS(filepath.Join(tc.root, "copy"), os.DirFS(original.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := tc.tryStart("node1", 1, "copy"); !errors.Is(err, ErrDuplicateNode) {
		t.Fatalf("a copy got %v, want ErrDuplicateNode", err)
	}
	original.stop(t)
	moved := tc.start("node1", 1, "copy")
	if err := moved.Ready(within(t)); err != nil {
		t.Errorf("once the original is gone: %v", err)
	}
}

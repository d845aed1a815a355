package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// misbehavingPeer is a connection to the node's peer port of one that knows the
// cluster's secret.
func misbehavingPeer(t testing.TB, n *testNode, id uuid.UUID) *peer.Client {
	t.Helper()
	proof, err := peer.NewPreauth(n.cfg.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	port := peer.NewPort(nil, proof, id, testLogger())
	_, cluster := n.ID()
	port.Cluster = func() uuid.UUID { return uuid.MustParse(cluster) }
	port.Resolve = func(string) (string, error) { return n.PeerAddr(), nil }
	node, _ := n.ID()
	conn, err := port.Dial(within(t), node, peer.PurposeRPC)
	if err != nil {
		t.Fatal(err)
	}
	client := peer.NewClient(conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		client.Run()
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return client
}

func TestUnreadableCommandsDoNotEnterTheLog(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	for _, node := range []*testNode{tc.leader(), tc.follower()} {
		results := make([]Result, 4)
		told := make(chan int, len(results))
		node.Submit([][]byte{[]byte("before"), []byte("unreadable"), []byte("after"), []byte("last")}, func(i int, r Result) {
			results[i] = r
			told <- i
		})
		for range results {
			<-told
		}
		for i, r := range results {
			if want := i == 1; errors.Is(r.Err, ErrInvalidCommand) != want || !want && r.Err != nil {
				t.Errorf("%s: command %d: %v", node.cfg.NodeName, i, r.Err)
			}
		}
	}
	for _, node := range tc.nodes {
		eventually(t, func() error {
			commands := slices.DeleteFunc(node.machine.commands(), func(c string) bool { return c == "nothing" })
			if want := []string{"before", "after", "last", "before", "after", "last"}; !slices.Equal(commands, want) {
				return fmt.Errorf("%s applied %q", node.cfg.NodeName, commands)
			}
			return nil
		})
	}
}

func TestCommandsAboveTheFeatureLevelWait(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 1, func(c *Config) { c.SubmitTimeout = 500 * time.Millisecond })
	if r := tc.nodes[0].Apply(within(t), []byte("level 9")); !errors.Is(r.Err, ErrUnavailable) {
		t.Errorf("a command above the feature level: %v", r.Err)
	}
	raw := encodeBatch(batch{session: Session{9}, seq: 1, commands: [][]byte{[]byte("level 9")}})
	_, err := misbehavingPeer(t, tc.nodes[0], uuid.New()).Call(within(t), peer.MethodSubmit, raw)
	if !errors.Is(err, ErrFeatureLevel) {
		t.Errorf("from a peer: %v", err)
	}
	if commands := tc.nodes[0].machine.commands(); slices.Contains(commands, "level 9") {
		t.Errorf("applied: %q", commands)
	}
}

func TestRequestsThatPanicAreAnswered(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	tc := newTestCluster(t, 1, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Handle = func(context.Context, string, []byte) ([]byte, error) { panic("asked too much") }
		c.Receive = func(string, []byte) ([]byte, error) { panic("heard too much") }
	})
	node := tc.nodes[0]
	client := misbehavingPeer(t, node, uuid.New())
	for range 3 {
		for _, m := range []peer.Method{peer.MethodQuery, peer.MethodMessage} {
			if _, err := client.Call(within(t), m, []byte("x")); !errors.Is(err, ErrMalformed) {
				t.Errorf("method %d: %v", m, err)
			}
		}
	}
	if n := node.PeerPanics(); n != 6 {
		t.Errorf("%d panics are counted", n)
	}
	if said := strings.Count(log.String(), "could not be worked on"); said != 2 {
		t.Errorf("%d lines are logged, one for each kind is enough", said)
	}
	if r := node.Apply(within(t), []byte("alive")); r.Err != nil {
		t.Errorf("afterwards: %v", r.Err)
	}
}

func TestPeersSayNothingImpossible(t *testing.T) {
	t.Parallel()
	one, two := "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
	good := proposal{Cluster: one, Servers: []server{{one, "a", "127.0.0.1:1"}, {two, "b", "127.0.0.1:2"}}}
	with := func(change func(*proposal)) proposal {
		p := good
		p.Servers = slices.Clone(p.Servers)
		change(&p)
		return p
	}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for _, message := range []peerMessage{
		with(func(p *proposal) { p.Cluster = "x" }), // its node.json could not be read again
		with(func(p *proposal) { p.Cluster = "{" + one + "}" }),
		with(func(p *proposal) { p.Servers = nil }),
		with(func(p *proposal) { p.Servers[1] = p.Servers[0] }),
		with(func(p *proposal) { p.Servers[1].ID = "two" }),
		with(func(p *proposal) { p.Servers[1].Name = "" }),
		with(func(p *proposal) { p.Servers[1].Peer = "nowhere" }),
		joinRequest{ID: "x", Name: "a"},
		joinRequest{ID: one, Name: strings.Repeat("n", 64)},
		joinRequest{ID: one, Name: "a\nb"},
		joinAnswer{Cluster: ""},
		removeRequest{},
		memberRequest{ID: "x"},
		membership{Voters: []string{one, one}},
		membership{Voters: []string{"x"}},
		membership{Voters: make([]string, 6)},
		report{Clock: -1},
		report{Clock: 1 << 62},
		report{Sync: -1},
		report{Applied: 1 << 63},
		report{Extra: make([]byte, maxExtraBytes+1)},
		view{Nodes: map[string]leaderHeard{"x": {}}},
		view{Nodes: map[string]leaderHeard{one: {Age: -1}}},
		appliedRequest{Index: 1 << 63},
	} {
		if err := message.check(); err == nil {
			t.Errorf("%+v passes", message)
		}
	}
}

// FuzzPeerRequest: an authenticated peer may send any bytes as any request. The node goes
// on, and neither its state nor its cluster changes but by commands that were taken.
func FuzzPeerRequest(f *testing.F) {
	tc := newTestCluster(f, 1, nil)
	node := tc.nodes[0]
	self, _ := node.ID()
	outsider := uuid.MustParse("00000000-0000-4000-8000-000000000001")
	for _, seed := range []struct {
		m    peer.Method
		text string
	}{
		{peer.MethodSubmit, string(testBatch(1))},
		{peer.MethodSubmit, string(encodeBatch(batch{seq: 1, commands: [][]byte{[]byte("unreadable"), nil}}))},
		{peer.MethodReadIndex, `{"applied":1,"clock":-1}`},
		{peer.MethodApplied, `{"index":0}`},
		{peer.MethodQuery, `{}`},
		{peer.MethodPropose, `{"cluster":"x","servers":[{"id":"` + outsider.String() + `","name":"a","peer":"h:1"}]}`},
		{peer.MethodBootstrap, `{"cluster":"x","servers":null}`},
		{peer.MethodJoin, `{"id":"` + self + `x","name":"","feature":0}`},
		{peer.MethodRemove, `{"name":"node1"}`},
		{peer.MethodMember, `{"id":"` + self + `"}`},
		{peer.MethodMessage, "x"},
		{peer.MethodReport, ``},
		{peer.MethodMembership, `{"id":"` + self + `"}`},
		{200, `{`},
	} {
		f.Add(byte(seed.m), []byte(seed.text))
	}
	client := misbehavingPeer(f, node, outsider)
	before := node.identity.read()
	members := node.memberIDs()
	f.Fuzz(func(t *testing.T, m byte, payload []byte) {
		if len(payload) > peer.MaxFrameBytes/2 {
			return
		}
		had := len(node.machine.commands())
		ctx, cancel := context.WithTimeout(within(t), 100*time.Millisecond)
		defer cancel()
		raw, err := client.Call(ctx, peer.Method(m), payload)
		_, broken := decodeBatch(payload)
		if has := len(node.machine.commands()); has != had &&
			(peer.Method(m) != peer.MethodSubmit || err != nil && ctx.Err() == nil || broken != nil) {
			t.Errorf("method %d with %q: %d commands became %d (%v)", m, payload, had, has, err)
		}
		if peer.Method(m) == peer.MethodSubmit && err == nil {
			if _, err := decodeOutcome(raw); err != nil {
				t.Errorf("outcome: %v", err)
			}
		}
		if n := node.PeerPanics(); n != 0 {
			t.Fatalf("method %d with %q panics", m, payload)
		}
		if now := node.identity.read(); !reflect.DeepEqual(now, before) {
			t.Fatalf("method %d with %q: the node becomes %+v", m, payload, now)
		}
		if now := node.memberIDs(); !slices.Equal(now, members) {
			t.Fatalf("method %d with %q: the members become %v", m, payload, now)
		}
	})
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// others returns the running nodes but one.
func (tc *testCluster) others(but *testNode) []*testNode {
	var rest []*testNode
	for _, node := range tc.running() {
		if node != but {
			rest = append(rest, node)
		}
	}
	return rest
}

// expectRemoved waits until a node stops because it was removed.
func (n *testNode) expectRemoved(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		if err := n.fatal.Load(); err == nil || !errors.Is(*err, ErrRemoved) {
			return fmt.Errorf("%s has not stopped", n.cfg.NodeName)
		}
		return nil
	})
	n.fatal.Store(nil)
}

func TestRemove(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	gone := tc.follower()
	asking := tc.others(gone)[0]
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
	gone.expectRemoved(t)
	gone.stop(t)
	// No leader calls on it any more when it is started again.
	again := tc.start(gone.cfg.NodeName, 3, gone.cfg.NodeName)
	again.expectRemoved(t)
}

func TestRemoveTheLeader(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	leader := tc.leader()
	if err := leader.Remove(within(t), leader.cfg.NodeName); err != nil {
		t.Fatal(err)
	}
	leader.expectRemoved(t)
	leader.stop(t)
	if r := tc.leader().Apply(within(t), []byte("on they go")); r.Err != nil {
		t.Error(r.Err)
	}
}

func TestRemoveWhatTheQuorumNeeds(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	leader := tc.leader()
	rest := tc.others(leader)
	rest[0].kill(t)
	err := leader.Remove(within(t), rest[1].cfg.NodeName)
	if !errors.Is(err, ErrQuorumAtRisk) || !strings.Contains(err.Error(), "only 1 of the 2") {
		t.Fatalf("removing one of two that are left: %v", err)
	}
	// The dead one may go, and then the cluster has two voters who both live.
	if err := rest[1].Remove(within(t), rest[0].cfg.NodeName); err != nil {
		t.Fatal(err)
	}
	if err := rest[1].Remove(within(t), rest[1].cfg.NodeName); err != nil {
		t.Fatal(err)
	}
	rest[1].expectRemoved(t)
	if err := leader.Remove(within(t), leader.cfg.NodeName); !errors.Is(err, ErrQuorumAtRisk) {
		t.Errorf("removing the last one: %v", err)
	}
}

// TestRemovalByALostLeader: what a leader had begun when it was lost may have
// happened, and what the next one does not know any more has.
func TestRemovalByALostLeader(t *testing.T) {
	for _, test := range []struct {
		name    string
		known   bool
		answers []error // the last one again and again
		want    error
	}{
		{"no leader at first", true, []error{ErrUnavailable, ErrNotLeader, nil}, nil},
		{"nobody of that name", false, []error{ErrNotLeader, ErrUnknownMember}, ErrUnknownMember},
		{"gone before it began", true, []error{ErrNotLeader, ErrUnknownMember}, ErrUnknownMember},
		{"begun and gone", true, []error{peer.ErrUncertain, ErrUnknownMember}, nil},
		{"the connection ended, and gone", true, []error{io.EOF, ErrUnavailable, ErrUnknownMember}, nil},
		{"never a leader", true, []error{ErrUnavailable}, ErrUnavailable},
		{"begun, then never a leader", true, []error{peer.ErrUncertain, ErrUnavailable}, ErrOutcomeUnknown},
		{"refused", true, []error{ErrQuorumAtRisk}, ErrQuorumAtRisk},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			rest := test.answers
			err := removeThrough(ctx, "node", test.known, func() error {
				answer := rest[0]
				if rest = rest[1:]; len(rest) == 0 {
					cancel()
				}
				return answer
			})
			if !errors.Is(err, test.want) || err != nil && test.want == nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestMayGo(t *testing.T) {
	voter := func(id string) raft.Server { return raft.Server{ID: raft.ServerID(id), Suffrage: raft.Voter} }
	learner := func(id string) raft.Server { return raft.Server{ID: raft.ServerID(id), Suffrage: raft.Nonvoter} }
	for _, test := range []struct {
		name    string
		servers []raft.Server
		alive   []string
		member  raft.Server
		stays   bool
	}{
		{"the only node", []raft.Server{voter("self")}, nil, voter("self"), true},
		{"a learner", []raft.Server{voter("self"), learner("b")}, nil, learner("b"), false},
		{"a dead one of two", []raft.Server{voter("self"), voter("b")}, nil, voter("b"), false},
		{"a live one of two", []raft.Server{voter("self"), voter("b")}, []string{"b"}, voter("self"), false},
		{"one of three with one dead", []raft.Server{voter("self"), voter("b"), voter("c")}, []string{"b"}, voter("b"), true},
		{"the dead one of three", []raft.Server{voter("self"), voter("b"), voter("c")}, []string{"b"}, voter("c"), false},
		{
			"one of five with two dead",
			[]raft.Server{voter("self"), voter("b"), voter("c"), voter("d"), voter("e")},
			[]string{"b", "c"},
			voter("b"), true,
		},
		{
			"learners do not count",
			[]raft.Server{voter("self"), voter("b"), voter("c"), learner("d")},
			[]string{"b", "d"},
			voter("b"), true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			alive := map[raft.ServerID]bool{"self": true}
			for _, id := range test.alive {
				alive[raft.ServerID(id)] = true
			}
			err := checkRemoval(raft.Configuration{Servers: test.servers}, test.member, alive)
			if stays := errors.Is(err, ErrQuorumAtRisk); stays != test.stays {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestJoiningNodeRemovesNoMember(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	survivor := tc.follower()
	for _, other := range tc.others(survivor) {
		other.kill(t)
	}
	joining := tc.start("joining", 3, "joining")
	eventually(t, func() error {
		if _, leader := survivor.raft.LeaderWithID(); leader != "" {
			return errors.New("the dead leader is still followed")
		}
		_, err := request[struct{}](within(t), survivor.pool, joining.id, peer.MethodMember, memberRequest{ID: survivor.id})
		if !errors.Is(err, ErrUnavailable) {
			return fmt.Errorf("the joining node, which cannot know who is a member, says %w", err)
		}
		return nil
	})
	if survivor.confirmRemoved(within(t)) {
		t.Error("a node takes the word of a joining one for not being a member")
	}
}

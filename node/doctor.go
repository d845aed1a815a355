package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/gateway/admin"
)

const (
	// checkTimeout bounds the checks of one node on itself and its ways to others.
	checkTimeout = 15 * time.Second
	// reachTimeout bounds the attempt to reach one port.
	reachTimeout = 3 * time.Second
	// clockTolerance is far below the offset that keeps a node from leading (5 s), and
	// above the error of a busy network.
	clockTolerance = time.Second
	// heardWithin bounds the wait until the leader has heard of a node that answers.
	heardWithin = 2 * time.Second
	heardPause  = 50 * time.Millisecond
)

// Diagnose implements admin.Operator.
func (n *Node) Diagnose(ctx context.Context) ([]admin.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	members := n.cluster.Members()
	perNode := make([][]admin.Finding, len(members))
	answered := make([]bool, len(members))
	var running sync.WaitGroup
	for i, m := range members {
		running.Go(func() { perNode[i], answered[i] = n.checkMember(ctx, m) })
	}
	running.Wait()
	there := make(map[string]bool)
	for i, m := range members {
		there[m.ID] = answered[i]
	}
	findings := n.checkCluster(awaitHeard(ctx, n.cluster.Members, there))
	return append(findings, slices.Concat(perNode...)...), nil
}

// awaitHeard returns the members once the leader has heard of all that answered here, or
// after heardWithin. A node that came back reports to the leader only every half second.
func awaitHeard(ctx context.Context, list func() []cluster.Member, answered map[string]bool) []cluster.Member {
	deadline := time.Now().Add(heardWithin)
	for {
		members := list()
		missing := slices.ContainsFunc(members, func(m cluster.Member) bool { return answered[m.ID] && !m.Alive })
		if !missing || time.Now().After(deadline) {
			return members
		}
		select {
		case <-time.After(heardPause):
		case <-ctx.Done():
			return members
		}
	}
}

// checkMember asks a member, or this node, to check itself. It reports whether the member
// answered.
func (n *Node) checkMember(ctx context.Context, m cluster.Member) (findings []admin.Finding, answered bool) {
	silent := func(err error) ([]admin.Finding, bool) {
		return []admin.Finding{{
			Node: m.Name, Check: "answers",
			Text: fmt.Sprintf("%s does not answer %s: %v.", m.Name, n.cfg.NodeName, err),
		}}, false
	}
	request, err := json.Marshal(question{Check: true})
	if err != nil {
		return silent(err)
	}
	reply, err := n.cluster.Query(ctx, m.ID, request)
	if err != nil {
		return silent(err)
	}
	list, err := decodeAnswer[findingList](reply)
	if err != nil {
		return silent(err)
	}
	return list, true
}

// checkSelf checks this node's machine and its ways to the other nodes.
func (n *Node) checkSelf(ctx context.Context) []admin.Finding {
	e := &doctor{node: n.cfg.NodeName}
	e.folder(n.cfg.DataDir)
	e.space(n.cfg.DataDir, n.cfg.DiskReserve)
	e.fsync(n.cfg.DataDir)
	e.descriptors()
	self, _ := n.cluster.ID()
	members := slices.DeleteFunc(n.cluster.Members(), func(m cluster.Member) bool { return m.ID == self })
	reached := make([]cluster.Reach, len(members))
	var running sync.WaitGroup
	for i, m := range members {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, reachTimeout)
			defer cancel()
			reached[i] = n.cluster.Reach(ctx, m.ID)
		})
	}
	running.Wait()
	for i, m := range members {
		e.reach(m, reached[i])
	}
	return e.findings
}

func (e *doctor) reach(m cluster.Member, r cluster.Reach) {
	whole := true
	for _, port := range []struct {
		name, address string
		err           error
	}{
		{"peer port", m.PeerAddr, r.Peer},
		{"gossip port over TCP", m.GossipAddr, r.GossipTCP},
		{"gossip port over UDP", m.GossipAddr, r.GossipUDP},
	} {
		if port.err != nil {
			whole = false
			e.bad("reach", "%s does not reach the %s of %s (%s): %v.", e.node, port.name, m.Name, port.address, port.err)
		}
	}
	if whole {
		e.ok("reach", "%s reaches %s.", e.node, m.Name)
	}
}

// checkCluster judges what this node knows about the members.
func (n *Node) checkCluster(members []cluster.Member) []admin.Finding {
	e := &doctor{node: n.cfg.NodeName}
	e.quorum(members)
	e.versions(members)
	e.clocks(members)
	return e.findings
}

func (e *doctor) quorum(members []cluster.Member) {
	voters, alive, leader := 0, 0, ""
	for _, m := range members {
		if m.Leader {
			leader = m.Name
		}
		if m.Voter {
			voters++
			if m.Alive {
				alive++
			}
		}
	}
	spare := alive - (voters/2 + 1)
	switch {
	case leader == "" || spare < 0:
		e.bad("quorum", "No node leads: %d of %d voters are alive.", alive, voters)
	case spare == 0 && voters > 1:
		e.bad("quorum", "%s leads, but with %d of %d voters alive no other may fail.", leader, alive, voters)
	default:
		e.ok("quorum", "%s leads, %d of %d voters are alive; %d more may fail.", leader, alive, voters, spare)
	}
}

func (e *doctor) versions(members []cluster.Member) {
	nodes := make(map[string][]string)
	for _, m := range members {
		if m.Version != "" {
			nodes[m.Version] = append(nodes[m.Version], m.Name)
		}
	}
	var parts []string
	for version, names := range nodes {
		parts = append(parts, fmt.Sprintf("%s on %s", version, strings.Join(names, ", ")))
	}
	slices.Sort(parts)
	if len(parts) > 1 {
		e.bad("versions", "The nodes run different versions: %s. Finish the upgrade.", strings.Join(parts, "; "))
		return
	}
	e.ok("versions", "All nodes that answer run the same version: %s.", strings.Join(parts, "; "))
}

func (e *doctor) clocks(members []cluster.Member) {
	apart := false
	for _, m := range members {
		if m.ClockKnown && m.ClockOffset.Abs() > clockTolerance {
			apart = true
			e.bad("clock", "The clock of %s is %v off the leader's: run a time service on every node.", m.Name, m.ClockOffset)
		}
	}
	if !apart {
		e.ok("clock", "The clocks of all nodes that answer agree within %v.", clockTolerance)
	}
}

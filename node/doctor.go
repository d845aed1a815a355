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
	// absentTimeout is the time for a member that was not heard lately.
	absentTimeout = 2 * time.Second
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
	silent := make([]error, len(members))
	var running sync.WaitGroup
	for i, m := range members {
		running.Go(func() { perNode[i], silent[i] = n.checkMember(ctx, m) })
	}
	running.Wait()
	answered := make(map[string]bool)
	for i, m := range members {
		answered[m.ID] = silent[i] == nil
	}
	awaitHeard(ctx, n.cluster.Members, answered)
	now, told := n.situation(), slices.Concat(perNode...)
	findings := n.checkCluster(now)
	gone := make(map[string]bool) // names of those that nobody reaches
	for i, m := range members {
		if silent[i] != nil {
			findings = append(findings, now.absent(m, silent[i], told))
			gone[m.Name] = !slices.ContainsFunc(told, func(f admin.Finding) bool {
				return f.Check == checkReach && f.About == m.Name && f.OK
			})
		}
	}
	// That nobody reaches a node which is gone has been said.
	told = slices.DeleteFunc(told, func(f admin.Finding) bool { return f.Check == checkReach && gone[f.About] })
	return append(findings, told...), nil
}

// awaitHeard returns once the leader has heard of all that answered here, or
// after heardWithin. A node that came back reports to the leader only every half second.
func awaitHeard(ctx context.Context, list func() []cluster.Member, answered map[string]bool) {
	deadline := time.Now().Add(heardWithin)
	for {
		members := list()
		missing := slices.ContainsFunc(members, func(m cluster.Member) bool { return answered[m.ID] && !m.Alive })
		if !missing || time.Now().After(deadline) {
			return
		}
		select {
		case <-time.After(heardPause):
		case <-ctx.Done():
			return
		}
	}
}

// checkMember asks a member, or this node, to check itself. The error says why it did not
// answer.
func (n *Node) checkMember(ctx context.Context, m cluster.Member) ([]admin.Finding, error) {
	request, err := json.Marshal(question{Check: true})
	if err != nil {
		return nil, err
	}
	if !m.Alive {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, absentTimeout)
		defer cancel()
	}
	reply, err := n.cluster.Query(ctx, m.ID, request)
	if err != nil {
		return nil, err
	}
	return decodeAnswer[findingList](reply)
}

// absent is the one finding about a member that does not answer: since when, and who else does
// not reach it.
func (s situation) absent(m cluster.Member, reason error, others []admin.Finding) admin.Finding {
	cut := []string{s.node}
	for _, f := range others {
		if f.Check == checkReach && f.About == m.Name && !f.OK && f.Node != s.node {
			cut = append(cut, f.Node)
		}
	}
	return admin.Finding{
		Node: m.Name, Check: "answers",
		Text: fmt.Sprintf("%s (%s) does not answer %s: %v. It is missing %s. "+
			"Start it again with the same command line: it catches up by itself.",
			m.Name, m.PeerAddr, strings.Join(cut, ", "), reason, s.missingSince(m)),
	}
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

// checkReach names the check of the ways between nodes.
const checkReach = "reach"

func (e *doctor) reach(m cluster.Member, r cluster.Reach) {
	var faults []string
	for _, port := range []struct {
		name, address string
		err           error
	}{
		{"peer port", m.PeerAddr, r.Peer},
		{"gossip port over TCP", m.GossipAddr, r.GossipTCP},
		{"gossip port over UDP", m.GossipAddr, r.GossipUDP},
	} {
		if port.err != nil {
			faults = append(faults, fmt.Sprintf("the %s (%s): %v", port.name, port.address, port.err))
		}
	}
	if len(faults) == 0 {
		e.ok(checkReach, "%s reaches %s.", e.node, m.Name)
	} else {
		e.bad(checkReach, "%s does not reach %s: %s.", e.node, m.Name, strings.Join(faults, "; "))
	}
	e.findings[len(e.findings)-1].About = m.Name
}

// checkCluster judges what this node knows about the members.
func (n *Node) checkCluster(now situation) []admin.Finding {
	e := &doctor{node: n.cfg.NodeName}
	e.quorum(now)
	e.versions(now.members)
	e.clocks(now.members)
	return e.findings
}

// quorum is wrong without a leader, and where all voters are there and still none may fail. That
// a missing voter leaves none to spare is the fault of that one.
func (e *doctor) quorum(now situation) {
	voters, alive, missing := now.count()
	spare := alive - needed(voters)
	if now.lately && (spare > 0 || voters == 1 || len(missing) > 0) {
		e.ok("quorum", "%s", now.text())
		return
	}
	e.bad("quorum", "%s", now.text())
}

func (e *doctor) versions(members []cluster.Member) {
	nodes := make(map[string][]string)
	for _, m := range members {
		if m.Version != "" && m.Alive {
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

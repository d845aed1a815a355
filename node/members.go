package node

import (
	"context"

	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Status implements admin.Operator.
func (n *Node) Status(context.Context) (admin.Status, error) {
	_, id := n.cluster.ID()
	now := n.situation()
	status := admin.Status{
		Node: n.cfg.NodeName, Version: Version, Term: n.cluster.Term(),
		Cluster: id, Epoch: n.state.Epoch(), Quorum: now.quorum(),
	}
	for _, m := range now.members {
		if m.Leader {
			status.Leader = m.Name
		}
		var v nodeStats
		if m.Alive { // the last figures of a node that is gone would look as if it were there
			v = statsOf(m)
		}
		member := admin.MemberStatus{
			Name: m.Name, ID: m.ID, State: "unreachable",
			Voter: m.Voter, Leader: m.Leader,
			PublicURL: v.PublicURL, PeerAddr: m.PeerAddr, GossipAddr: m.GossipAddr,
			AppliedIndex: m.Applied, Connections: v.Connections,
			StartedAt: v.StartedAt, DiskUsed: v.DiskUsed, DiskFree: v.DiskFree,
			Version: m.Version, FeatureLevel: m.Feature,
		}
		if m.Alive {
			member.State = "alive"
		}
		if !m.LastHeard.IsZero() {
			member.LastHeardAt = m.LastHeard.UnixMilli()
		}
		if m.ClockKnown {
			offset := m.ClockOffset.Milliseconds()
			member.ClockOffset = &offset
		}
		status.Members = append(status.Members, member)
	}
	return status, nil
}

// RemoveMember implements admin.Operator. A node cannot confirm its own removal, because
// it hears of no entry after it.
func (n *Node) RemoveMember(ctx context.Context, name string) error {
	if id, _ := n.cluster.ID(); name == id || name == n.cfg.NodeName {
		return refusal.New(refusal.Conflict, "a node does not remove itself: ask another one")
	}
	return n.asRefusal(n.cluster.Remove(ctx, name))
}

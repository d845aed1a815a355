package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Member is one node of the cluster as this node sees it.
type Member struct {
	ID         string // UUID, made with the data folder
	Name       string
	PeerAddr   string // host:port, "" when unknown
	GossipAddr string // host:port, "" when unknown
	Version    string // "" when unknown
	Feature    uint32 // Config.FeatureLevel of the member
	Voter      bool
	Leader     bool
	Alive      bool // the leader has heard of it lately; without one, this node reaches it
	// LastHeard is when the leader or this node last heard of it; zero: not since this node
	// started.
	LastHeard time.Time
	Applied   uint64 // index of the last entry it was known to have consumed
	// ClockOffset is its clock's lead over the leader's clock, if ClockKnown.
	ClockOffset time.Duration
	ClockKnown  bool
	Extra       []byte // Config.Extra of the member, at most half a second old
	// Silence is how long no leader had heard of the member when the leader was last asked; 0
	// unless that is long enough to be sure that it serves nobody. It stands still without a
	// leader.
	Silence time.Duration
}

// Members lists the configuration, by name.
func (c *Cluster) Members() []Member {
	config, _, err := c.configuration()
	if err != nil {
		return nil
	}
	_, leader := c.raft.LeaderWithID()
	nodes, known := c.heardOf()
	now := time.Now()
	last, _ := c.fresh.lastView()
	members := make([]Member, 0, len(config.Servers))
	for _, s := range config.Servers {
		m := Member{
			ID:     string(s.ID),
			Name:   c.directory.name(string(s.ID)),
			Voter:  s.Suffrage == raft.Voter,
			Leader: s.ID == leader,
		}
		if record, ok := c.identity.read().Peers[m.ID]; ok {
			m.PeerAddr, m.GossipAddr = record.Peer, record.Gossip
		}
		n, gossiping := c.gossip.Find(m.ID)
		if gossiping {
			m.PeerAddr, m.GossipAddr, m.Version, m.Feature = n.Peer, n.Addr, n.Version, n.Feature
		}
		h, heard := nodes[m.ID]
		m.Applied, m.Extra, m.Silence = h.Applied, h.Extra, last.silence(m.ID)
		if l, ok := nodes[string(leader)]; ok && heard && known && !l.Silent && !h.Silent {
			m.ClockOffset, m.ClockKnown = time.Duration((h.Clock+h.Age)-(l.Clock+l.Age))*time.Millisecond, true
		}
		if known {
			m.Alive = heard && !h.Silent && time.Duration(h.Age)*time.Millisecond < reachableFor
		} else {
			m.Alive = gossiping
			if p, probed := c.probes.last(m.ID); probed {
				m.Alive, m.LastHeard = p.reached, p.heard
			}
		}
		if heard && !h.Silent {
			if told := now.Add(-time.Duration(h.Age) * time.Millisecond); told.After(m.LastHeard) {
				m.LastHeard = told
			}
		}
		if m.ID == c.id {
			own := c.report()
			m.Alive, m.Applied, m.Extra, m.LastHeard, m.Silence = true, own.Applied, own.Extra, now, 0
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return members
}

// heardOf returns what the leader has heard of each node; known is false when
// this node has no recent answer of a leader.
func (c *Cluster) heardOf() (nodes map[string]leaderHeard, known bool) {
	last, at := c.fresh.lastView()
	age := time.Since(at)
	nodes = make(map[string]leaderHeard, len(last.Nodes))
	for node, h := range last.Nodes {
		h.Age += age.Milliseconds()
		nodes[node] = h
	}
	return nodes, age < reachableFor
}

// Led says when a leader last proved to this node that a majority follows it, and whether
// that was lately. The time is zero where none has since this node started.
func (c *Cluster) Led() (last time.Time, lately bool) {
	_, last = c.fresh.lastView()
	return last, time.Since(last) < reachableFor
}

// Leader returns the member that leads, as far as this node knows.
func (c *Cluster) Leader() (Member, bool) {
	for _, m := range c.Members() {
		if m.Leader {
			return m, true
		}
	}
	return Member{}, false
}

// Term returns Raft's current term.
func (c *Cluster) Term() uint64 { return c.raft.CurrentTerm() }

// TransferLeadership hands leadership to another voter that has caught up, can
// be reached and is not stalled. It does nothing on a node that does not lead.
func (c *Cluster) TransferLeadership(ctx context.Context) error {
	if c.raft.State() != raft.Leader {
		return nil
	}
	successors := c.successors(time.Now())
	byProgress := func(a, b string) int { return cmp.Compare(successors[b].Applied, successors[a].Applied) }
	err := fmt.Errorf("%w: no other voter can be reached", ErrUnavailable)
	for _, to := range slices.SortedFunc(maps.Keys(successors), byProgress) {
		err = await(ctx, c.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to)))
		if err == nil || c.raft.State() != raft.Leader {
			return nil
		}
	}
	return fmt.Errorf("transfer leadership: %w", err)
}

// successors returns the last reports of the other voters that could lead: they can
// be reached and are not stalled.
func (c *Cluster) successors(now time.Time) map[string]report {
	reports := make(map[string]report)
	for _, s := range c.others() {
		what, ok := c.health.reachable(string(s.ID), now)
		if ok && s.Suffrage == raft.Voter && !what.Stalled {
			reports[string(s.ID)] = what
		}
	}
	return reports
}

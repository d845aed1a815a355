package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// joinRequest asks for membership.
type joinRequest struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Feature uint32 `json:"feature"`
}

// joinAnswer grants it.
type joinAnswer struct {
	Cluster string `json:"cluster"`
}

const (
	// changeTimeout bounds the wait for a change of the configuration.
	changeTimeout = 10 * time.Second
	// caughtUpWithin bounds the entries that a node lacks when it becomes a
	// voter.
	caughtUpWithin = 1000
)

// configuration returns a copy of the newest configuration, committed or not. Raft itself
// works with the one that it hands out.
func (c *Cluster) configuration() (raft.Configuration, uint64, error) {
	future := c.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return raft.Configuration{}, 0, fmt.Errorf("read configuration: %w", err)
	}
	config := future.Configuration()
	return config.Clone(), future.Index(), nil
}

func (c *Cluster) memberIDs() (ids []string) {
	config, _, err := c.configuration()
	if err != nil {
		return nil
	}
	for _, s := range config.Servers {
		ids = append(ids, string(s.ID))
	}
	return ids
}

func (c *Cluster) isMember(id string) bool {
	config, _, err := c.configuration()
	return err == nil && slices.ContainsFunc(config.Servers, func(s raft.Server) bool { return string(s.ID) == id })
}

// others returns the members besides this node.
func (c *Cluster) others() []raft.Server {
	config, _, err := c.configuration()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(config.Servers, func(s raft.Server) bool { return string(s.ID) == c.id })
}

// handleJoin adds a node, on the leader; any other member passes the request on.
func (c *Cluster) handleJoin(ctx context.Context, from string, r joinRequest) (joinAnswer, error) {
	if from != r.ID && !c.isMember(from) {
		return joinAnswer{}, ErrNotMember
	}
	cluster := c.identity.read().ClusterID
	if cluster == "" {
		return joinAnswer{}, ErrNotMember
	}
	if passed, answer, err := forwardToLeader[joinAnswer](ctx, c, peer.MethodJoin, r); passed {
		return answer, err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	config, index, err := c.configuration()
	if err != nil {
		return joinAnswer{}, err
	}
	for _, s := range config.Servers {
		if string(s.ID) == r.ID {
			return joinAnswer{Cluster: cluster}, nil
		}
		if c.directory.name(string(s.ID)) == r.Name && !c.silent(string(s.ID)) {
			return joinAnswer{}, fmt.Errorf("%w: %s", ErrNameTaken, r.Name)
		}
	}
	if level := c.FeatureLevel(); r.Feature < level {
		return joinAnswer{}, fmt.Errorf("%w: it has feature level %d, the cluster uses %d", ErrTooOld, r.Feature, level)
	}
	err = c.change(ctx, c.raft.AddNonvoter(raft.ServerID(r.ID), raft.ServerAddress(r.ID), index, changeTimeout))
	if err != nil {
		return joinAnswer{}, fmt.Errorf("add %s: %w", r.Name, err)
	}
	c.health.welcome(r.ID, time.Now())
	c.log.Info("a node joins", "member", r.Name, "id", r.ID)
	return joinAnswer{Cluster: cluster}, nil
}

// forwardToLeader sends a request to the leader unless this node is it.
func forwardToLeader[A any](ctx context.Context, c *Cluster, m peer.Method, what any) (passed bool, answer A,
	err error,
) {
	_, leader := c.raft.LeaderWithID()
	switch string(leader) {
	case "":
		return true, answer, fmt.Errorf("%w: no leader is known", ErrUnavailable)
	case c.id:
		if !c.leaderReady.Load() {
			return true, answer, ErrNotLeader
		}
		return false, answer, nil
	}
	answer, err = request[A](ctx, c.pool, string(leader), m, what)
	return true, answer, err
}

// silent reports whether a member has not been heard of for so long that its
// name is free.
func (c *Cluster) silent(id string) bool {
	return id != c.id && c.health.sinceHeard(id, time.Now()) >= c.cfg.NameFreeAfter
}

// change waits for a change of the configuration.
func (c *Cluster) change(ctx context.Context, future raft.Future) error {
	switch err := await(ctx, future); {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, raft.ErrLeadershipLost):
		return fmt.Errorf("%w: %w", peer.ErrUncertain, err)
	default:
		return err
	}
}

// tendMembers makes voters of nodes that have caught up, and removes silent
// members whose name such a node has taken over. It makes one change at most.
func (c *Cluster) tendMembers(ctx context.Context) error {
	if err := c.rememberMembers(); err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	config, index, err := c.configuration()
	if err != nil {
		return err
	}
	step := c.nextStep(config, time.Now())
	switch {
	case step.remove != "":
		c.log.Info("removing a member whose name another node has taken over", "member", c.directory.name(step.remove),
			"id", step.remove)
		err = c.change(ctx, c.raft.RemoveServer(raft.ServerID(step.remove), index, changeTimeout))
	case step.promote != "":
		c.log.Info("a node has caught up and votes from now on", "member", c.directory.name(step.promote), "id", step.promote)
		err = c.change(ctx, c.raft.AddVoter(raft.ServerID(step.promote), raft.ServerAddress(step.promote), index,
			changeTimeout))
	}
	if err != nil {
		return fmt.Errorf("change the configuration: %w", err)
	}
	return nil
}

// step is one change of the configuration; at most one field is set.
type step struct{ promote, remove string }

// nextStep decides which change is due.
func (c *Cluster) nextStep(config raft.Configuration, now time.Time) step {
	consumed, _ := c.applier.progress()
	voters := 0
	replacements := make(map[string]raft.Server) // by name: reachable members
	for _, s := range config.Servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
		if report, ok := c.health.reachable(string(s.ID), now); ok && report.Applied+caughtUpWithin >= consumed &&
			!c.silent(string(s.ID)) {
			replacements[c.directory.name(string(s.ID))] = s
		}
	}
	for _, s := range config.Servers {
		replacement, ok := replacements[c.directory.name(string(s.ID))]
		if !ok || replacement.ID == s.ID || !c.silent(string(s.ID)) {
			continue
		}
		// The replacement votes first, unless there is no room for another voter.
		if replacement.Suffrage == raft.Voter || s.Suffrage != raft.Voter || voters >= MaxVoters {
			return step{remove: string(s.ID)}
		}
	}
	if voters >= MaxVoters {
		return step{}
	}
	for _, replacement := range slices.SortedFunc(maps.Values(replacements),
		func(a, b raft.Server) int { return cmp.Compare(a.ID, b.ID) }) {
		if replacement.Suffrage != raft.Voter {
			return step{promote: string(replacement.ID)}
		}
	}
	return step{}
}

// rememberMembers writes down where the members are.
func (c *Cluster) rememberMembers() error {
	config, _, err := c.configuration()
	if err != nil {
		return err
	}
	members := make(map[string]bool, len(config.Servers))
	for _, s := range config.Servers {
		members[string(s.ID)] = true
	}
	return c.directory.remember(members)
}

// FeatureLevel is the highest level that every member announces: the least of what
// each is known to have announced, at its last start that this node heard of. A
// member that nothing is known of counts as of level 1.
func (c *Cluster) FeatureLevel() uint32 {
	config, _, err := c.configuration()
	if err != nil {
		return 1
	}
	level := c.cfg.FeatureLevel
	for _, s := range config.Servers {
		if string(s.ID) != c.id {
			level = min(level, max(c.directory.feature(string(s.ID)), 1))
		}
	}
	return level
}

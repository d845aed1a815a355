package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/gossip"
	"github.com/aptlyd/aptlyd/cluster/peer"
)

// A node without a cluster either joins one, by asking any member, or forms one.
// Alone it forms one only if it was told to join no other node. Otherwise the node
// with the lowest id proposes once as many nodes as expected have no cluster:
//
//	propose   to each of the set; it agrees when it sees things alike, and then
//	          agrees to nothing else for a while
//	form      when all have agreed: each notes the cluster id and starts Raft
//	          with the identical configuration
//
// A node that misses the second step finds a cluster and joins it.

// proposal is the first configuration of a cluster.
type proposal struct {
	Cluster string   `json:"cluster"`
	Servers []server `json:"servers"` // ascending by id; the first one proposes
}

const (
	bootstrapInterval = 250 * time.Millisecond
	// waitInterval is the pause between log lines of a node that belongs to no cluster.
	waitInterval = 10 * time.Second
	// lookTimeout bounds the wait of a node that is alone in its cluster for its first
	// look for others.
	lookTimeout = 2 * time.Second
	// gossipInterval is the pause in which a node that is alone looks for others.
	gossipInterval   = 2 * time.Second
	bootstrapTimeout = 2 * time.Second
	joinTimeout      = 15 * time.Second
	// promiseTime is longer than a proposer takes between its two steps.
	promiseTime = 10 * time.Second
)

// promise is the proposal that this node has agreed to.
type promise struct {
	mu       sync.Mutex
	proposal proposal
	until    time.Time
}

// bootstrapOrJoin returns once this node belongs to a cluster, or with the reason why
// it never will.
func (c *Cluster) bootstrapOrJoin(ctx context.Context) error {
	waiting := time.NewTicker(waitInterval)
	defer waiting.Stop()
	for {
		if c.identity.read().ClusterID != "" {
			return nil
		}
		// Asked again and again, since DNS may learn late that a name is this node's.
		if c.cfg.BootstrapExpect == 1 && c.alone(ctx) {
			return c.bootstrapFrom(proposal{Cluster: uuid.NewString(), Servers: []server{c.self()}})
		}
		joined, obstacle, err := c.tryJoin(ctx)
		if joined || err != nil {
			return err
		}
		if obstacle == nil && c.cfg.BootstrapExpect > 1 {
			if obstacle, err = c.tryBootstrap(ctx); err != nil {
				return err
			}
		}
		c.sayNameInUse(obstacle)
		select {
		case <-c.gossip.Changed():
		case <-time.After(bootstrapInterval):
		case <-waiting.C:
			c.sayWaiting(obstacle)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sayNameInUse logs at once, and once, an obstacle that only the operator can remove.
func (c *Cluster) sayNameInUse(obstacle error) {
	taken, same := errors.Is(obstacle, ErrNameTaken), errors.Is(obstacle, errSameName)
	switch {
	case c.saidNameInUse:
	case taken:
		c.log.Error("the name of this node is in use: it waits until the other node has been silent for a while; "+
			"if both are to run, give this one another --node-name",
			"name", c.cfg.NodeName, "silent_for", c.cfg.NameFreeAfter, "err", obstacle)
	case same:
		c.log.Error("nodes with the same name cannot form a cluster: give each a --node-name of its own", "err", obstacle)
	}
	c.saidNameInUse = taken || same
}

// sayWaiting logs why this node belongs to no cluster yet.
func (c *Cluster) sayWaiting(obstacle error) {
	expected := c.cfg.BootstrapExpect
	found := c.gossip.All()
	names := make([]string, len(found))
	for i, n := range found {
		names[i] = fmt.Sprintf("%s at %s", n.Name, n.Peer)
	}
	log := c.log.With("join", c.cfg.Join, "found", len(found), "expected", expected, "nodes", names, "unreachable",
		c.gossip.Unreachable())
	if obstacle != nil {
		log.Warn("waiting for a cluster", "err", obstacle)
		return
	}
	log.Warn("waiting for a cluster to join or for nodes to form one with; do they run, and with the same cluster secret?")
}

// alone reports whether this node was told to join no other node.
func (c *Cluster) alone(ctx context.Context) bool {
	_, own, err := net.SplitHostPort(c.gossip.Address())
	if err != nil {
		return false
	}
	for _, join := range c.cfg.Join {
		host, port, err := net.SplitHostPort(join)
		if err != nil || port != own || !c.ownHost(ctx, host) {
			return false
		}
	}
	return true
}

// ownHost reports whether a host is this machine and no other: a name may be that of all
// nodes, as of a headless service.
func (c *Cluster) ownHost(ctx context.Context, host string) bool {
	if host == c.cfg.Advertise {
		return true
	}
	ips, err := c.cfg.LookUp(ctx, host)
	if err != nil || len(ips) == 0 {
		return false
	}
	return !slices.ContainsFunc(ips, func(ip net.IP) bool { return !gossip.IsOwn(ip) })
}

// self returns this node as a proposal names it.
func (c *Cluster) self() server {
	return server{ID: c.id, Name: c.cfg.NodeName, Peer: c.peerAddress}
}

// tryJoin asks every member that gossip knows. An obstacle may pass, an error is
// final.
func (c *Cluster) tryJoin(ctx context.Context) (joined bool, obstacle, err error) {
	for _, n := range c.gossip.All() {
		if n.Cluster == "" {
			continue
		}
		answer, err := c.askToJoin(ctx, n.ID)
		switch {
		case err == nil:
			return true, nil, c.adopt(answer.Cluster)
		case errors.Is(err, ErrWrongCluster), errors.Is(err, ErrTooOld):
			return false, nil, fmt.Errorf("join the cluster: %w", err)
		case errors.Is(err, ErrNameTaken):
			obstacle = fmt.Errorf("join the cluster: %w", err)
		case obstacle == nil:
			obstacle = fmt.Errorf("%s cannot let this node join: %w", n.Name, err)
		}
	}
	return false, obstacle, nil
}

func (c *Cluster) askToJoin(ctx context.Context, member string) (joinAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	return request[joinAnswer](ctx, c.pool, member, peer.MethodJoin,
		joinRequest{ID: c.id, Name: c.cfg.NodeName, Feature: c.cfg.FeatureLevel})
}

// adopt makes this node one of a cluster.
func (c *Cluster) adopt(cluster string) error {
	if _, err := uuid.Parse(cluster); err != nil {
		return fmt.Errorf("join the cluster: its id %q: %w", cluster, err)
	}
	if err := c.identity.update(func(f *identityFile) { f.ClusterID = cluster }); err != nil {
		return err
	}
	c.pool.Reset() // those connections began as an outsider's
	c.gossip.Tell(c.nodeMeta())
	return nil
}

// tryBootstrap proposes a cluster if that is this node's part. An obstacle may pass, an
// error is final.
func (c *Cluster) tryBootstrap(ctx context.Context) (obstacle, err error) {
	p := proposal{Cluster: uuid.NewString(), Servers: []server{c.self()}}
	for _, n := range c.gossip.All() {
		if n.Cluster != "" {
			return nil, nil // there is one to join
		}
		if n.ID != c.id {
			p.Servers = append(p.Servers, server{ID: n.ID, Name: n.Name, Peer: n.Peer})
		}
	}
	if obstacle := p.checkNames(); obstacle != nil {
		return obstacle, nil // every node sees it, not only the proposer
	}
	if len(p.Servers) < c.cfg.BootstrapExpect {
		return nil, nil
	}
	slices.SortFunc(p.Servers, compareServers)
	p.Servers = p.Servers[:c.cfg.BootstrapExpect]
	if p.Servers[0].ID != c.id {
		return nil, nil
	}
	if err := c.agree(p); err != nil {
		return fmt.Errorf("propose a cluster: %w", err), nil
	}
	if err := c.ask(ctx, peer.MethodPropose, p); err != nil {
		return fmt.Errorf("not every node agrees to form a cluster: %w", err), nil
	}
	if err := c.note(p, true); err != nil {
		return nil, err
	}
	if err := c.ask(ctx, peer.MethodBootstrap, p); err != nil {
		c.log.Warn("a node missed the forming of the cluster and will join it", "err", err)
	}
	return nil, c.bootstrapFrom(p)
}

// errSameName says that two nodes that look for a cluster have one name.
var errSameName = errors.New("two nodes have the same node name")

// checkNames returns errSameName where two nodes of a proposal have one name.
func (p proposal) checkNames() error {
	first := make(map[string]server)
	for _, s := range p.Servers {
		if other, taken := first[s.Name]; taken {
			return fmt.Errorf("%w: %s, at %s and at %s", errSameName, s.Name, other.Peer, s.Peer)
		}
		first[s.Name] = s
	}
	return nil
}

// ask sends a proposal to every other server of it.
func (c *Cluster) ask(ctx context.Context, m peer.Method, p proposal) error {
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	errs := make(chan error, len(p.Servers))
	for _, s := range p.Servers[1:] {
		go func() {
			_, err := request[struct{}](ctx, c.pool, s.ID, m, p)
			errs <- err
		}()
	}
	var all error
	for range p.Servers[1:] {
		all = errors.Join(all, <-errs)
	}
	return all
}

func compareServers(a, b server) int { return cmp.Compare(a.ID, b.ID) }

// agree promises to form this cluster and no other for a while.
func (c *Cluster) agree(p proposal) error {
	if err := c.judge(p); err != nil {
		return err
	}
	c.promise.mu.Lock()
	defer c.promise.mu.Unlock()
	now := time.Now()
	held := c.promise.proposal
	if now.Before(c.promise.until) && held.Cluster != p.Cluster && held.Servers[0].ID != p.Servers[0].ID {
		return fmt.Errorf("%w: another proposal is under way", ErrConflict)
	}
	c.promise.proposal, c.promise.until = p, now.Add(promiseTime)
	return nil
}

// judge returns ErrConflict unless a proposal fits what this node knows.
func (c *Cluster) judge(p proposal) error {
	if err := p.checkNames(); err != nil {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	switch {
	case c.identity.read().ClusterID != "":
		return fmt.Errorf("%w: this node has a cluster", ErrConflict)
	case len(p.Servers) != c.cfg.BootstrapExpect:
		return fmt.Errorf("%w: %d nodes were proposed, %d are expected", ErrConflict, len(p.Servers), c.cfg.BootstrapExpect)
	case !slices.IsSortedFunc(p.Servers, compareServers):
		return fmt.Errorf("%w: the proposal is not in order", ErrConflict)
	case !slices.Contains(p.Servers, c.self()):
		return fmt.Errorf("%w: this node is not proposed as it is", ErrConflict)
	}
	for _, n := range c.gossip.All() {
		if n.Cluster != "" {
			return fmt.Errorf("%w: there is a cluster already", ErrConflict)
		}
	}
	return nil
}

// handlePropose takes the first step at a node that does not propose.
func (c *Cluster) handlePropose(from string, p proposal) error {
	if len(p.Servers) == 0 || p.Servers[0].ID != from {
		return fmt.Errorf("%w: only the lowest node proposes", ErrConflict)
	}
	return c.agree(p)
}

// handleBootstrap takes the second step at a node that does not propose.
func (c *Cluster) handleBootstrap(from string, p proposal) error {
	c.promise.mu.Lock()
	held, until := c.promise.proposal, c.promise.until
	c.promise.mu.Unlock()
	if len(p.Servers) == 0 || p.Servers[0].ID != from || held.Cluster != p.Cluster ||
		!slices.Equal(held.Servers, p.Servers) || !time.Now().Before(until) {
		return fmt.Errorf("%w: this node did not agree to that", ErrConflict)
	}
	return c.bootstrapFrom(p)
}

// note writes the agreed configuration down, so that a crash on the way to Raft
// changes nothing of it.
func (c *Cluster) note(p proposal, proposer bool) error {
	return c.identity.update(func(f *identityFile) {
		f.ClusterID, f.Forming, f.Bootstrapped = p.Cluster, p.Servers, proposer
		f.Peers = make(map[string]peerRecord)
		for _, s := range p.Servers {
			f.Peers[s.ID] = peerRecord{Name: s.Name, Peer: s.Peer}
		}
	})
}

// bootstrapFrom makes this node one of the new cluster.
func (c *Cluster) bootstrapFrom(p proposal) error {
	c.bootstrapping.Lock()
	defer c.bootstrapping.Unlock()
	if known := c.identity.read(); known.ClusterID == "" {
		if err := c.note(p, p.Servers[0].ID == c.id); err != nil {
			return err
		}
	} else if known.ClusterID != p.Cluster {
		return ErrWrongCluster
	}
	if err := c.bootstrap(); err != nil {
		return err
	}
	c.pool.Reset()
	c.gossip.Tell(c.nodeMeta())
	return nil
}

// bootstrap gives Raft the configuration that was agreed upon.
func (c *Cluster) bootstrap() error {
	forming := c.identity.read().Forming
	if len(forming) == 0 {
		return nil
	}
	var config raft.Configuration
	for _, s := range forming {
		config.Servers = append(config.Servers, raft.Server{
			Suffrage: raft.Voter,
			ID:       raft.ServerID(s.ID),
			Address:  raft.ServerAddress(s.ID),
		})
	}
	err := c.raft.BootstrapCluster(config).Error()
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return c.identity.update(func(f *identityFile) { f.Forming, f.Member = nil, true })
}

// expectedNodes returns how many nodes, this one included, gossip should know of.
func (c *Cluster) expectedNodes() int {
	expected := 2
	if c.identity.read().ClusterID == "" {
		expected = max(expected, c.cfg.BootstrapExpect)
	}
	return max(expected, len(c.others())+1)
}

// maintainGossip keeps this node in gossip with others until ctx ends. A node that is
// alone, because all were restarted at once, tries again. It remembers the members'
// addresses.
func (c *Cluster) maintainGossip(ctx context.Context) {
	for first := true; ; {
		var news <-chan struct{} // while it is none, bootstrapOrJoin takes them
		if c.isMember(c.id) {
			news = c.gossip.Changed()
			if err := c.rememberMembers(); err != nil && ctx.Err() == nil {
				c.log.Warn("the members could not be remembered", "err", err)
			}
		}
		if len(c.gossip.All()) < c.expectedNodes() {
			c.joinSeeds(ctx)
		}
		if first {
			close(c.looked)
			first = false
		}
		select {
		case <-news:
		case <-time.After(gossipInterval):
		case <-ctx.Done():
			return
		}
	}
}

// joinSeeds contacts the configured addresses and the remembered ones. A node that finds
// only another cluster where it was told to join, and no node of its own, is refused,
// unless it is ready already.
func (c *Cluster) joinSeeds(ctx context.Context) {
	foreign := c.gossip.Join(ctx, c.directory.seeds(c.cfg.Join))
	// Other nodes may well live now where its own members were.
	foreign = slices.DeleteFunc(foreign, func(seed string) bool { return !slices.Contains(c.cfg.Join, seed) })
	if len(foreign) == 0 {
		return
	}
	own := c.identity.read().ClusterID
	if slices.ContainsFunc(c.gossip.All(), func(n gossip.Neighbour) bool { return n.ID != c.id && n.Cluster == own }) {
		c.log.Debug("nodes of another cluster answer at configured addresses", "addresses", foreign)
		return
	}
	c.refuse(fmt.Errorf("join %s: %w", foreign[0], ErrWrongCluster))
}

package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/aptlyd/aptlyd/cluster/logbridge"
	"github.com/aptlyd/aptlyd/cluster/peer"
)

// nodeMeta describes a node in gossip. It is only a hint: members prove themselves on the
// peer port.
type nodeMeta struct {
	Name    string `json:"n"`
	Peer    string `json:"p"` // host:port of the peer port
	Cluster string `json:"c,omitempty"`
	Version string `json:"v,omitempty"`
	Feature uint32 `json:"f,omitempty"`
	// Start counts the starts of the node: of two metadata about it, the one with
	// the higher count is the later.
	Start uint64 `json:"s"`
}

// longest returns the most bytes that the metadata of a node with this configuration takes.
func longest(c Config) (int, error) {
	told, err := json.Marshal(nodeMeta{
		Name: c.NodeName, Peer: net.JoinHostPort(c.Advertise, "65535"), Cluster: uuid.Nil.String(),
		Version: c.Version, Feature: math.MaxUint32, Start: math.MaxUint64,
	})
	return len(told), err
}

// neighbour is a node heard of by gossip.
type neighbour struct {
	nodeMeta
	id     string
	gossip string // host:port
}

// gossip is this node's memberlist.
type gossip struct {
	id     string
	list   *memberlist.Memberlist
	port   *gossipPort
	logger *slog.Logger
	lookUp func(ctx context.Context, host string) ([]net.IP, error)
	// changed is told, without blocking, that the neighbours have changed.
	changed chan struct{}

	mu   sync.Mutex
	self nodeMeta
	// neighbours is keyed by memberlist's name of a node, which is its id and the
	// count of its start: memberlist holds on to the address of a name for long,
	// and a node that was restarted elsewhere must be found at once.
	neighbours map[string]neighbour
	silent     map[string]error // why seeds did not answer when they were last tried
	// conflict is the peer address that memberlist last heard of under this node's own name.
	conflict string
}

const (
	// leaveTimeout and tellTimeout bound the wait until others have been told.
	leaveTimeout = time.Second
	tellTimeout  = time.Second
	// datagramBytes bounds a datagram, so that it goes through a tunnel whole.
	datagramBytes = 1200
	// joinSeedTimeout bounds each step of an exchange with another node over TCP.
	joinSeedTimeout = 2 * time.Second
)

// startGossip binds the gossip port. It joins no other node yet.
func startGossip(ctx context.Context, cfg Config, id string, self nodeMeta, proof *peer.Preauth,
	cluster func() uuid.UUID,
) (*gossip, error) {
	g := &gossip{
		id:         id,
		logger:     cfg.Logger,
		lookUp:     cfg.LookUp,
		changed:    make(chan struct{}, 1),
		self:       self,
		neighbours: make(map[string]neighbour),
		silent:     make(map[string]error),
	}
	host, portText, err := net.SplitHostPort(cfg.GossipAddr)
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	advertise, err := resolveAdvertised(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start gossip: %w", err)
	}
	if g.port, err = openGossipPort(cfg, host, port, proof, cluster); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGossipPort, err)
	}
	port = g.port.GetAutoBindPort()
	lan := memberlist.DefaultLANConfig()
	lan.Transport = g.port
	lan.Name = gossipName(id, self.Start)
	lan.BindAddr, lan.BindPort = host, port
	lan.AdvertiseAddr, lan.AdvertisePort = advertise.String(), port
	lan.TCPTimeout = joinSeedTimeout
	lan.UDPBufferSize = datagramBytes
	lan.DeadNodeReclaimTime = 30 * time.Second
	lan.Alive = gossipDelegate{g}
	lan.Delegate = gossipDelegate{g}
	lan.Events = gossipDelegate{g}
	lan.Conflict = gossipDelegate{g}
	lan.Logger = logbridge.Standard(cfg.Logger, "gossip")
	if len(cfg.Secrets) > 0 {
		if lan.Keyring, err = gossipKeys(cfg.Secrets); err != nil {
			return nil, errors.Join(err, g.port.Shutdown())
		}
	}
	if g.list, err = memberlist.Create(lan); err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), g.port.Shutdown())
	}
	return g, nil
}

const (
	// resolvePatience is how long a node waits at its start for its own name, which DNS
	// may learn of only once the node runs.
	resolvePatience = 60 * time.Second
	resolvePause    = 500 * time.Millisecond
)

// resolveAdvertised returns the address of the host at which the others reach this
// node, once DNS knows its name.
func resolveAdvertised(ctx context.Context, cfg Config) (net.IP, error) {
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	for said := (time.Time{}); ; {
		found, err := cfg.LookUp(ctx, cfg.Advertise)
		if err == nil && len(found) > 0 {
			return found[0], nil
		}
		if time.Since(said) >= waitInterval {
			said = time.Now()
			cfg.Logger.Warn("the name at which the others are to reach this node is not in DNS yet", "advertise",
				cfg.Advertise, "err", err)
		}
		select {
		case <-time.After(resolvePause):
		case <-ctx.Done():
			return nil, fmt.Errorf("resolve the advertised host %s: %w: %w", cfg.Advertise, ctx.Err(), err)
		}
	}
}

// gossipName is memberlist's name of a node that was started so many times.
func gossipName(id string, start uint64) string { return fmt.Sprintf("%s/%d", id, start) }

// address returns host and port of this node's gossip.
func (g *gossip) address() string { return g.list.LocalNode().Address() }

// tell changes this node's metadata and announces it.
func (g *gossip) tell(self nodeMeta) {
	g.mu.Lock()
	g.self = self
	g.mu.Unlock()
	// Its one error is that no node has heard it in time. Nodes that exchange with this one
	// later hear it.
	_ = g.list.UpdateNode(tellTimeout)
}

// join contacts all seeds at once: one that is silently gone must hold up neither the
// others nor the end of this node. It returns those at which another cluster answers.
func (g *gossip) join(ctx context.Context, seeds []string) (foreign []string) {
	var running sync.WaitGroup
	var mu sync.Mutex
	for _, seed := range seeds {
		running.Go(func() {
			err := g.joinSeed(ctx, seed)
			if errors.Is(err, ErrWrongCluster) {
				mu.Lock()
				foreign = append(foreign, seed)
				mu.Unlock()
			}
			if ctx.Err() == nil {
				g.noteSeed(seed, err)
			}
			if err != nil && ctx.Err() == nil {
				g.logger.Debug("a node did not answer gossip", "addr", seed, "err", err)
			}
		})
	}
	running.Wait()
	return foreign
}

// noteSeed remembers whether a seed answered.
func (g *gossip) noteSeed(seed string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.silent, seed)
	if err != nil {
		g.silent[seed] = err
	}
}

// unreachable returns the seeds that did not answer when they were last tried, with
// the reasons.
func (g *gossip) unreachable() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	seeds := make([]string, 0, len(g.silent))
	for seed, err := range g.silent {
		seeds = append(seeds, seed+": "+strings.Join(strings.Fields(err.Error()), " "))
	}
	slices.Sort(seeds)
	return seeds
}

// joinSeed contacts every address of a host.
func (g *gossip) joinSeed(ctx context.Context, seed string) error {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return err
	}
	addresses, err := g.lookUp(ctx, host)
	if err != nil {
		return err
	}
	failures := make(chan error, len(addresses))
	for _, address := range addresses {
		go func() {
			at := net.JoinHostPort(address.String(), port)
			_, err := g.list.Join([]string{at})
			if err != nil && g.port.isForeign(at) {
				err = ErrWrongCluster // which memberlist does not hand on
			}
			failures <- err
		}()
	}
	var all error
	for range addresses {
		all = errors.Join(all, <-failures)
	}
	return all
}

// all returns the neighbours that seem alive, by id.
func (g *gossip) all() []neighbour {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := make(map[string]neighbour)
	for _, n := range g.neighbours {
		if known, ok := newest[n.id]; !ok || known.Start < n.Start {
			newest[n.id] = n
		}
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b neighbour) int { return cmp.Compare(a.id, b.id) })
}

// find returns the neighbour with an id.
func (g *gossip) find(id string) (neighbour, bool) {
	for _, n := range g.all() {
		if n.id == id {
			return n, true
		}
	}
	return neighbour{}, false
}

// ownAddresses returns the peer addresses other than this node's at which gossip knows its
// id: of an earlier start, or of a duplicate.
func (g *gossip) ownAddresses() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := make(map[string]bool)
	for _, n := range g.neighbours {
		if n.id == g.id {
			found[n.Peer] = true
		}
	}
	found[g.conflict] = true
	delete(found, g.self.Peer)
	delete(found, "")
	return slices.Sorted(maps.Keys(found))
}

// close leaves, if leave is set, and stops.
func (g *gossip) close(leave bool) error {
	if leave {
		// An unheard good-bye, because all nodes stop at once, costs nothing.
		_ = g.list.Leave(leaveTimeout)
	}
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("close gossip: %w", err)
	}
	return nil
}

// gossipDelegate is called by memberlist under its locks, so it calls nothing of
// memberlist and never waits.
type gossipDelegate struct{ g *gossip }

func (d gossipDelegate) NodeMeta(limit int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	meta, err := json.Marshal(d.g.self)
	if err != nil || len(meta) > limit {
		return nil // Config.Validate sees to it that this cannot be; memberlist would panic
	}
	return meta
}

// NotifyAlive keeps out nodes of another cluster, which a node without a cluster may
// pass on.
func (d gossipDelegate) NotifyAlive(n *memberlist.Node) error {
	var theirs nodeMeta
	if json.Unmarshal(n.Meta, &theirs) != nil || theirs.check(n.Name) != nil {
		return errors.New("it is no aptlyd")
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	if own := d.g.self.Cluster; theirs.Cluster != own && theirs.Cluster != "" && own != "" {
		return ErrWrongCluster
	}
	return nil
}

func (d gossipDelegate) NotifyMsg([]byte)                {}
func (d gossipDelegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d gossipDelegate) LocalState(bool) []byte          { return nil }
func (d gossipDelegate) MergeRemoteState([]byte, bool)   {}
func (d gossipDelegate) NotifyJoin(n *memberlist.Node)   { d.note(n) }
func (d gossipDelegate) NotifyUpdate(n *memberlist.Node) { d.note(n) }

func (d gossipDelegate) NotifyLeave(n *memberlist.Node) {
	d.g.mu.Lock()
	delete(d.g.neighbours, n.Name)
	d.g.mu.Unlock()
	d.rouse()
}

// NotifyConflict notes a node at another address whose name in gossip is this node's own.
func (d gossipDelegate) NotifyConflict(known, other *memberlist.Node) {
	var theirs nodeMeta
	if json.Unmarshal(other.Meta, &theirs) != nil || theirs.check(other.Name) != nil {
		return
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	if id, _, _ := strings.Cut(known.Name, "/"); id == d.g.id {
		d.g.conflict = theirs.Peer
	}
}

func (d gossipDelegate) note(n *memberlist.Node) {
	id, _, _ := strings.Cut(n.Name, "/")
	next := neighbour{id: id, gossip: n.Address()}
	if json.Unmarshal(n.Meta, &next.nodeMeta) != nil || next.check(n.Name) != nil {
		return // not one of ours
	}
	d.g.mu.Lock()
	d.g.neighbours[n.Name] = next
	d.g.mu.Unlock()
	d.rouse()
}

func (d gossipDelegate) rouse() {
	select {
	case d.g.changed <- struct{}{}:
	default:
	}
}

package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

// Gossip is this node's memberlist.
type Gossip struct {
	id     string
	list   *memberlist.Memberlist
	port   *transport
	logger *slog.Logger
	lookUp func(ctx context.Context, host string) ([]net.IP, error)
	// changed is told, without blocking, that the neighbours have changed.
	changed chan struct{}

	mu   sync.Mutex
	self Meta
	// neighbours is keyed by memberlist's name of a node, which is its id and the
	// count of its start: memberlist holds on to the address of a name for long,
	// and a node that was restarted elsewhere must be found at once.
	neighbours map[string]Neighbour
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

// ErrPort says that Config.Addr cannot be bound.
var ErrPort = errors.New("the port cannot be bound")

// Config says how a node gossips. All fields are required but Secrets.
type Config struct {
	ID        string // of this node
	Self      Meta
	Addr      string // host:port to bind
	Advertise string // host at which the others reach this node
	// Secrets derive the keys; the first one encrypts. None are needed on loopback.
	Secrets []string
	Proof   *peer.Preauth
	Cluster func() uuid.UUID // of this node, uuid.Nil while it has none
	LookUp  func(ctx context.Context, host string) ([]net.IP, error)
	Logger  *slog.Logger
}

// Start binds the port. It joins no other node yet.
func Start(ctx context.Context, cfg Config) (*Gossip, error) {
	g := newGossip(cfg)
	host, portText, err := net.SplitHostPort(cfg.Addr)
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
	if g.port, err = openTransport(cfg, host, port); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPort, err)
	}
	port = g.port.GetAutoBindPort()
	lan := memberlist.DefaultLANConfig()
	lan.Transport = g.port
	lan.Name = memberName(g.id, g.self.Start)
	lan.BindAddr, lan.BindPort = host, port
	lan.AdvertiseAddr, lan.AdvertisePort = advertise.String(), port
	lan.TCPTimeout = joinSeedTimeout
	lan.UDPBufferSize = datagramBytes
	lan.DeadNodeReclaimTime = 30 * time.Second
	lan.Alive = delegate{g}
	lan.Delegate = delegate{g}
	lan.Events = delegate{g}
	lan.Conflict = delegate{g}
	lan.Logger = logbridge.Standard(cfg.Logger, "gossip")
	if len(cfg.Secrets) > 0 {
		if lan.Keyring, err = keyring(cfg.Secrets); err != nil {
			return nil, errors.Join(err, g.port.Shutdown())
		}
	}
	if g.list, err = memberlist.Create(lan); err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), g.port.Shutdown())
	}
	return g, nil
}

func newGossip(cfg Config) *Gossip {
	return &Gossip{
		id:         cfg.ID,
		logger:     cfg.Logger,
		lookUp:     cfg.LookUp,
		changed:    make(chan struct{}, 1),
		self:       cfg.Self,
		neighbours: make(map[string]Neighbour),
		silent:     make(map[string]error),
	}
}

const (
	// resolvePatience bounds a node's wait at its start for its own name, which DNS
	// may learn of only once the node runs.
	resolvePatience = 60 * time.Second
	resolvePause    = 500 * time.Millisecond
	// elsewherePatience is how long DNS may lead to an address that this host does not have.
	// It is longer than Kubernetes keeps records of pods.
	elsewherePatience = 15 * time.Second
	// waitInterval is the pause between two warnings that the name is not known yet.
	waitInterval = 10 * time.Second
)

// resolveAdvertised returns the address of the host at which the others reach this
// node, once DNS knows its name. A name that leads to no address of this machine may be that
// of before, since DNS learns late that a pod has moved: it is believed only after a while.
func resolveAdvertised(ctx context.Context, cfg Config) (net.IP, error) {
	if ip := net.ParseIP(cfg.Advertise); ip != nil {
		return ip, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	began := time.Now()
	for said := (time.Time{}); ; {
		found, err := cfg.LookUp(ctx, cfg.Advertise)
		if i := slices.IndexFunc(found, IsOwn); i >= 0 {
			return found[i], nil
		}
		if err == nil && len(found) > 0 && time.Since(began) >= elsewherePatience {
			return found[0], nil
		}
		if time.Since(said) >= waitInterval {
			said = time.Now()
			reason := "is not in DNS yet"
			if len(found) > 0 {
				reason = "is in DNS with an address that this host does not have"
			}
			cfg.Logger.Warn("the name at which the others are to reach this node "+reason, "advertise", cfg.Advertise,
				"addresses", found, "err", err)
		}
		select {
		case <-time.After(resolvePause):
		case <-ctx.Done():
			return nil, fmt.Errorf("resolve the advertised host %s: %w: %w", cfg.Advertise, ctx.Err(), err)
		}
	}
}

// IsOwn reports whether an interface of this machine has the address.
func IsOwn(ip net.IP) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && network.IP.Equal(ip)
	})
}

// Changed returns a channel that holds a token once the neighbours have changed.
func (g *Gossip) Changed() <-chan struct{} { return g.changed }

// Address returns host and port of this node's gossip.
func (g *Gossip) Address() string { return g.list.LocalNode().Address() }

// Tell changes this node's metadata and announces it.
func (g *Gossip) Tell(self Meta) {
	g.mu.Lock()
	g.self = self
	g.mu.Unlock()
	// Its one error is that no node has heard it in time. Nodes that exchange with this one
	// later hear it.
	_ = g.list.UpdateNode(tellTimeout)
}

// Join contacts all seeds at once: one that is silently gone must hold up neither the
// others nor the end of this node. It returns those at which another cluster answers.
func (g *Gossip) Join(ctx context.Context, seeds []string) (foreign []string) {
	var running sync.WaitGroup
	var mu sync.Mutex
	for _, seed := range seeds {
		running.Go(func() {
			err := g.joinSeed(ctx, seed)
			if errors.Is(err, peer.ErrWrongCluster) {
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
func (g *Gossip) noteSeed(seed string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.silent, seed)
	if err != nil {
		g.silent[seed] = err
	}
}

// Unreachable returns the seeds that did not answer when they were last tried, with
// the reasons.
func (g *Gossip) Unreachable() []string {
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
func (g *Gossip) joinSeed(ctx context.Context, seed string) error {
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
				err = peer.ErrWrongCluster // which memberlist does not hand on
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

// All returns the neighbours that seem alive, by id.
func (g *Gossip) All() []Neighbour {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := make(map[string]Neighbour)
	for _, n := range g.neighbours {
		if known, ok := newest[n.ID]; !ok || known.Start < n.Start {
			newest[n.ID] = n
		}
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b Neighbour) int { return cmp.Compare(a.ID, b.ID) })
}

// Find returns the neighbour with an id.
func (g *Gossip) Find(id string) (Neighbour, bool) {
	for _, n := range g.All() {
		if n.ID == id {
			return n, true
		}
	}
	return Neighbour{}, false
}

// OwnAddresses returns the peer addresses other than this node's at which gossip knows its
// id: of an earlier start, or of a duplicate.
func (g *Gossip) OwnAddresses() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := make(map[string]bool)
	for _, n := range g.neighbours {
		if n.ID == g.id {
			found[n.Peer] = true
		}
	}
	found[g.conflict] = true
	delete(found, g.self.Peer)
	delete(found, "")
	return slices.Sorted(maps.Keys(found))
}

// Close leaves, if leave is set, and stops.
func (g *Gossip) Close(leave bool) error {
	if leave {
		// An unheard good-bye, because all nodes stop at once, costs nothing.
		_ = g.list.Leave(leaveTimeout)
	}
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("close gossip: %w", err)
	}
	return nil
}

// Ping sends a datagram and waits for the answer.
func (g *Gossip) Ping(n Neighbour) error {
	address, err := net.ResolveUDPAddr("udp", n.Addr)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if _, err := g.list.Ping(memberName(n.ID, n.Start), address); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// Package node runs one node. It builds the state, the cluster and the gateway in order,
// implements the operations that the gateway asks for, and closes everything in reverse.
// It knows nothing of flags, frames or Raft.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/console"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
	"github.com/aptlyd/aptlyd/internal/durable"
	"github.com/aptlyd/aptlyd/internal/teardown"
	"github.com/aptlyd/aptlyd/node/presence"
	"github.com/aptlyd/aptlyd/node/relay"
)

// Node is one member of a cluster, from Start to Close. It implements gateway.Broker and
// gateway.Operator for its own gateway.
type Node struct {
	cfg     Config
	log     *slog.Logger
	state   *fsm.State
	cluster *cluster.Cluster
	gateway *gateway.Server
	keyring *keyring
	keyUses *keyUses
	meter   *usageMeter
	level   atomic.Uint32 // last known feature level of the cluster
	disk    diskWatch
	stalls  *cluster.StallWatch

	// acknowledged is the index of the last entry with an acknowledged publish of this
	// node. The acknowledgement may overtake the entry.
	acknowledged highestIndex
	obstacle     obstacle
	survey       survey

	backingUp atomic.Bool // a Backup is being read
	latency   *publishTimer
	logs      logMetrics
	history   history

	startedAt time.Time

	relay     *relay.Relay       // messages of memory channels to other nodes
	announcer *relay.Announcer   // and which of them this node wants
	exchange  *presence.Exchange // of the members of channels

	clientAddr net.Addr
	adminAddr  net.Addr
	listeners  []net.Listener // failStop closes them first

	built    teardown.Stack
	cancel   context.CancelCauseFunc
	serving  sync.WaitGroup
	member   chan struct{} // closed once cluster is set
	ready    chan struct{} // closed once the node serves clients
	failed   chan struct{} // closed if it never will; failure says why
	failure  error
	stopOnce sync.Once
	stopErr  error
	failOnce sync.Once

	credentials *Credentials // written before ready closes
}

// Errors of Start and Ready that a restart with the same settings does not mend.
var (
	// ErrAdminToken says that the configured admin token is no owner of the cluster.
	ErrAdminToken = errors.New("the admin token is not an owner of this cluster")
	// ErrTooOld says that the other nodes use commands that this version does not know.
	ErrTooOld = cluster.ErrTooOld
	// ErrWrongCluster says that the nodes in --join belong to another cluster than the
	// data.
	ErrWrongCluster = cluster.ErrWrongCluster
	// ErrOtherVersion says that this version does not read the format of the data folder.
	ErrOtherVersion = durable.ErrOtherVersion
	// ErrDuplicateNode says that a process with the identity in the data folder runs elsewhere.
	ErrDuplicateNode = cluster.ErrDuplicateNode
)

// Start builds a node and begins to serve it. It returns once all ports are bound. Ready
// returns once the node has joined, caught up and serves clients.
func Start(cfg Config) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := prepareDataDir(cfg.DataDir, cfg.Logger); err != nil {
		return nil, err
	}
	if exists(cfg.DataDir, stagingDir) {
		return nil, errUnfinished
	}
	if err := forgetNewCluster(cfg.DataDir); err != nil {
		return nil, err
	}
	secrets, seals := cfg.ClusterSecrets, cfg.ClusterSecrets
	if len(secrets) == 0 {
		secret, err := cfg.localSecret()
		switch {
		case err != nil:
			return nil, err
		case secret == "":
			cfg.Logger.Warn("without a cluster secret every process of this machine can act as a node: " +
				"give all nodes the same --cluster-secret")
		default:
			// A backup is not sealed under it, so the secret would be lost with the folder.
			secrets, seals = []string{secret}, []string{noSecret, secret}
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	n := &Node{
		cfg:    cfg,
		log:    cfg.Logger.With("node", cfg.NodeName),
		cancel: cancel,

		keyring:   newKeyring(seals),
		keyUses:   newKeyUses(),
		meter:     newUsageMeter(),
		latency:   newPublishTimer(),
		logs:      newLogMetrics(),
		startedAt: time.Now(),

		member: make(chan struct{}),
		ready:  make(chan struct{}),
		failed: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			cancel(err)
			err = errors.Join(err, n.built.Run())
		}
	}()

	n.stalls = cluster.NewStallWatch(cluster.DefaultWriteStall, n.failStop)
	n.built.Push("stall watch", n.stalls.Close)
	clientTLS, err := cfg.clientTLS(n.log.With("component", "gateway"))
	if err != nil {
		return nil, err
	}
	clients, err := n.listen("listen", cfg.Listen)
	if err != nil {
		return nil, err
	}
	n.clientAddr, n.adminAddr = clients.Addr(), clients.Addr()
	var operators net.Listener
	if cfg.AdminListen != "" {
		if operators, err = n.listen("admin-listen", cfg.AdminListen); err != nil {
			return nil, err
		}
		n.adminAddr = operators.Addr()
	}
	peers, err := n.listen("peer-listen", cfg.PeerListen)
	if err != nil {
		return nil, err
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	n.gateway, err = gateway.New(gateway.Config{
		Listener:       clients,
		AdminListener:  operators,
		Broker:         n,
		Fatal:          n.failStop,
		TLS:            clientTLS,
		Poller:         cfg.Poller,
		Console:        http.StripPrefix("/console", console.Handler()),
		TrustedProxies: cfg.TrustedProxies,
		ProxyProtocol:  cfg.ProxyProtocol,
		AllowedHosts:   cfg.hostNames(),
		Limits:         cfg.Limits,
		Version:        Version,
		Registry:       registry,
		Logger:         n.log.With("component", "gateway"),
	})
	if err != nil {
		return nil, fmt.Errorf("build gateway: %w", asSetting(err))
	}
	n.built.Push("gateway", n.gateway.Close)
	n.announcer = relay.NewAnnouncer(n.gateway, n.isMemory, n.announce)
	n.built.Push("announcer", n.announcer.Close)
	n.relay = relay.New(n.sendBatch, droppedTransients(registry))
	n.built.Push("relay", n.relay.Close)

	n.exchange = presence.New(n.gateway.Members(), n.tellsMembers, n.sendMembers)
	n.built.Push("exchange of members", n.exchange.Close)

	n.state, err = fsm.Open(fsm.Config{
		Dir:      filepath.Join(cfg.DataDir, "state"),
		Observer: observer{n.gateway, n.announcer.RulesChanged},
		Fatal:    n.failStop,
		Logger:   n.log.With("component", "fsm"),
		Watch:    n.stalls.Watch,
	})
	if errors.Is(err, fsm.ErrInUse) {
		return nil, fmt.Errorf("%w: %s; does a node run on it?", ErrInUse, cfg.DataDir)
	}
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	n.built.Push("state", n.state.Close)

	n.disk = diskWatch{
		reserve: cfg.DiskReserve,
		free:    func() (uint64, error) { return durable.FreeBytes(cfg.DataDir) },
		size:    folderBytes(cfg.DataDir),
		yield:   n.yieldLeadership,
		log:     n.log.With("component", "disk"),
	}

	if cfg.Advertise == "" {
		if cfg.Advertise, err = chooseAdvertise(ctx, &cfg, thisHost()); err != nil {
			return nil, err
		}
		n.log.Info("chose the address that the other nodes are told", "advertise", cfg.Advertise)
	}
	n.cluster, err = cluster.Open(cluster.Config{
		Dir:             cfg.DataDir,
		NodeName:        cfg.NodeName,
		PeerListener:    peers,
		GossipAddr:      cfg.GossipListen,
		Advertise:       cfg.Advertise,
		Join:            cfg.Join,
		BootstrapExpect: cfg.BootstrapExpect,
		Secrets:         secrets,
		Version:         Version,
		FeatureLevel:    fsm.Level,
		Nothing:         fsm.NoOp(),
		SubmitTimeout:   cfg.PublishTimeout,
		Fatal:           n.failStop,
		Handle:          n.answerPeer,
		Receive:         n.receive,
		Extra:           n.stats,
		Logger:          n.log.With("component", "cluster"),
		Stalls:          n.stalls,
		Synced:          n.logs.logSynced,
		Applied:         n.logs.applied,
	}, n.state)
	if errors.Is(err, cluster.ErrGossipPort) {
		return nil, &ConfigError{"gossip-listen", err.Error()}
	}
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	n.built.Push("cluster", n.cluster.Close)
	self, _ := n.cluster.ID()
	n.gateway.Members().Begin(self, n.cluster.Start())
	close(n.member)
	if n.state.Initialised() {
		n.gateway.OpenToOperators()
	}
	n.registerMetrics(registry)
	n.serving.Go(func() {
		if err := n.disk.run(ctx); err != nil {
			n.failStop(err)
		}
	})
	n.serving.Go(func() { n.recordHistory(ctx) })
	n.serving.Go(func() { n.announcer.Run(ctx) })
	n.serving.Go(func() { n.followMembers(ctx) })
	n.serving.Go(func() { n.watchMembers(ctx) })
	n.serving.Go(func() { n.surveyRetained(ctx) })
	n.serving.Go(func() { n.maintain(ctx) })
	n.serving.Go(func() { n.shareUsage(ctx) })
	n.serving.Go(func() { n.meterUsage(ctx) })
	n.serving.Go(func() { n.serve(ctx) })
	return n, nil
}

// listen binds an address and remembers the listener for failStop.
func (n *Node) listen(setting, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &ConfigError{setting, err.Error()}
	}
	n.listeners = append(n.listeners, l)
	n.built.Push(setting, func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return l, nil
}

// serve takes the node from bound ports to serving clients.
func (n *Node) serve(ctx context.Context) {
	if err := n.join(ctx); err != nil {
		if ctx.Err() == nil {
			n.log.Error("cannot serve", "err", err)
		}
		n.failure = err
		close(n.failed)
		return
	}
	n.updatePeers()
	n.updateLevel()
	n.gateway.Open()
	n.log.Info("serving clients", "addr", n.clientAddr.String())
	close(n.ready)
}

func (n *Node) join(ctx context.Context) error {
	if err := n.cluster.Ready(ctx); err != nil {
		return fmt.Errorf("join cluster: %w", err)
	}
	if err := n.initialise(ctx); err != nil {
		return fmt.Errorf("initialise cluster: %w", err)
	}
	if _, id := n.cluster.ID(); n.state.ClusterID() != id {
		return fmt.Errorf("the state in %s belongs to cluster %s, this node to %s", n.cfg.DataDir, n.state.ClusterID(), id)
	}
	if n.cfg.AdminToken != "" && !n.isOwner(n.cfg.AdminToken) {
		return ErrAdminToken
	}
	if err := n.openKeyring(ctx); err != nil {
		return err
	}
	return nil
}

// Ready waits until the node serves clients, or returns why it never will.
func (n *Node) Ready(ctx context.Context) error {
	select {
	case <-n.ready:
		return nil
	case <-n.failed:
		return n.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Addr returns the address for clients.
func (n *Node) Addr() net.Addr { return n.clientAddr }

// AdminAddr returns the address for operators.
func (n *Node) AdminAddr() net.Addr { return n.adminAddr }

// Drain makes way for a planned stop: the node turns not ready, hands over
// leadership, and closes its clients at a spread pace so that they come back
// elsewhere. Close follows.
func (n *Node) Drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.DrainTimeout)
	defer cancel()
	n.gateway.Unready()
	n.yieldLeadership(ctx)
	if err := n.gateway.Drain(ctx); err != nil {
		return fmt.Errorf("drain clients: %w", err)
	}
	report, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	n.readUsage(time.Now())
	n.reportUsage(report)
	return nil
}

// yieldLeadership gives leadership to another node, if this one has it and there
// is another. When no node takes it, the others elect one once this one is gone.
func (n *Node) yieldLeadership(ctx context.Context) {
	if len(n.cluster.Members()) < 2 {
		return
	}
	if err := n.cluster.TransferLeadership(ctx); err != nil {
		n.log.Warn("no other node takes the leadership", "err", err)
	}
}

// Close stops the node at once and releases everything it holds.
func (n *Node) Close() error {
	n.stopOnce.Do(func() {
		n.cancel(errors.New("node is closing"))
		n.stopErr = n.built.Run()
		n.serving.Wait()
	})
	return n.stopErr
}

// closeGrace bounds how long failStop waits for sockets to close, since a thread may be
// stuck on the disk.
const closeGrace = 500 * time.Millisecond

// failStop ends the process because going on could lose or falsify data. Sockets go first:
// a process with a thread stuck on the disk can linger after exit with open ports.
func (n *Node) failStop(cause error) {
	n.failOnce.Do(func() { n.abort(cause) })
	select {} // later callers wait for the end of the process
}

func (n *Node) abort(cause error) {
	n.log.Error("stopping: this node cannot go on", "err", cause)
	for _, l := range n.listeners {
		_ = l.Close() // the process ends, so nobody can use the error
	}
	if n.gateway != nil {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			n.gateway.Abort()
		}()
		select {
		case <-closed:
		case <-time.After(closeGrace):
		}
	}
	code := 1
	if errors.Is(cause, ErrDuplicateNode) {
		code = 2 // the data folder has to be changed
	}
	n.cfg.Exit(code)
}

// NodeName implements gateway.Broker.
func (n *Node) NodeName() string { return n.cfg.NodeName }

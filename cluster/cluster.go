package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/compress"
	"github.com/aptlyd/aptlyd/cluster/gossip"
	"github.com/aptlyd/aptlyd/cluster/logbridge"
	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/cluster/raftlog"
	"github.com/aptlyd/aptlyd/cluster/watchdog"
	"github.com/aptlyd/aptlyd/internal/teardown"
)

// Cluster is this node's part in the cluster.
type Cluster struct {
	cfg         Config
	log         *slog.Logger
	id          string
	peerAddress string // host:port at which others reach the peer port

	identity    *identity
	directory   *directory
	names       atomic.Pointer[directory] // the same, for log lines from the start on
	gossip      *gossip.Gossip
	port        *peer.Port
	pool        *peer.Pool
	logs        *raftlog.Store
	raft        *raft.Raft
	applier     *applier
	proposer    *proposer
	forwarder   *forwarder
	fresh       *freshness
	health      peerHealth
	probes      probes
	panics      panics
	egress      atomic.Uint64 // bytes of Raft's calls to others
	compressed  compress.Counts
	readIndexes coalescer[uint64]
	promise     promise

	saidNameInUse bool // touched by bootstrapOrJoin only

	// leaderReady: this node leads and has applied everything committed before its term.
	leaderReady   atomic.Bool
	clock         clusterClock
	disk          diskJudge  // touched by leaderLoop only
	clockAlone    bool       // touched by leaderLoop only: what it last said of the clock
	changing      sync.Mutex // held while the configuration is changed
	bootstrapping sync.Mutex // held while a first configuration is taken on

	ready    chan struct{} // closed when the node is a member and caught up, or never will be
	readyErr error
	// entering ends when the node is refused before it is ready, with the reason.
	entering context.Context
	refuse   context.CancelCauseFunc
	looked   chan struct{} // closed after the first look for neighbours

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	opened  teardown.Stack
	closing sync.Once
	leave   bool // say good-bye in gossip at close
}

// Open starts the node and returns before it is in a cluster. The caller's
// machine is driven from here on; it is not closed by Close.
func Open(cfg Config, machine Machine) (*Cluster, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Cluster{ready: make(chan struct{}), looked: make(chan struct{}), leave: true}
	cfg.Logger = logbridge.WithNames(cfg.Logger, c.name)
	c.cfg, c.log, c.panics.log = cfg, cfg.Logger, cfg.Logger
	c.health.grace = min(maxGrace, cfg.NameFreeAfter)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.entering, c.refuse = context.WithCancelCause(c.ctx)
	if err := c.open(machine); err != nil {
		c.cancel()
		return nil, errors.Join(err, c.opened.Run())
	}
	return c, nil
}

// open builds the parts in the order in which they need each other.
func (c *Cluster) open(machine Machine) error {
	cfg := c.cfg
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return err
	}
	c.opened.Push("lock", lock.Close)
	if c.identity, err = openIdentity(cfg.Dir); err != nil {
		return err
	}
	if err := c.identity.update(func(f *identityFile) { f.Starts++ }); err != nil {
		return err
	}
	c.identity.fatal = cfg.Fatal
	who := c.identity.read()
	c.id = who.NodeID

	logDir := filepath.Join(cfg.Dir, "raft")
	logs, err := raftlog.Open(cfg.logOptions(logDir, who.LogChecked))
	if err != nil {
		return err
	}
	if !who.LogChecked {
		if err := c.identity.update(func(f *identityFile) { f.LogChecked = true }); err != nil {
			return errors.Join(err, logs.Close())
		}
	}
	c.logs = logs
	c.opened.Push("log", logs.Close)
	logs.Written.Store(max(logBytes(logDir, cfg.LogSegmentBytes)-cfg.TrailingBytes, 0))
	configs := &configHistory{}
	snapshots, err := openSnapshotStore(filepath.Join(cfg.Dir, "snapshots"), machine, configs, cfg.Fatal)
	if err != nil {
		return err
	}
	if err := recoverStart(logs, snapshots, machine, who.Member); err != nil {
		return err
	}
	c.applier = newApplier(logs, machine, snapshots, configs, cfg.Fatal)
	c.applier.stalls, c.applier.applied = cfg.Stalls, cfg.Applied

	port, err := c.openPort()
	if err != nil {
		return err
	}
	c.opened.Push("peer port", port.Close)
	c.port = port
	if err := c.refuseDuplicate(); err != nil {
		return err
	}
	snapshots.waits = watchdog.New(installStall, func(snapshot string, limit time.Duration) {
		c.log.Warn("a snapshot does not go on arriving", "snapshot", snapshot, "for", limit)
		port.CutRaft()
	})
	c.opened.Push("watch over snapshots", func() error {
		snapshots.waits.Close()
		return nil
	})
	c.gossip, err = gossip.Start(c.ctx, gossip.Config{
		ID: c.id, Self: c.nodeMeta(), Addr: cfg.GossipAddr, Advertise: cfg.Advertise,
		Secrets: cfg.Secrets, Proof: port.Preauth, Cluster: port.Cluster, LookUp: cfg.LookUp, Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	c.opened.Push("gossip", func() error { return c.gossip.Close(c.leave) })
	c.directory = &directory{self: c.id, identity: c.identity, gossip: c.gossip}
	c.names.Store(c.directory)
	port.Resolve, port.Name = c.directory.resolve, c.name
	c.pool = peer.NewPool(port)

	transport := newTransport(port, logs, &c.egress, cfg)
	notify := make(chan bool, 16)
	if c.raft, err = startRaft(cfg, c.id, logs, snapshots, c.applier, transport, notify); err != nil {
		return errors.Join(err, transport.Close())
	}
	nudges := newCommitNotifier(transport.Transport, raft.ServerID(c.id), c.others)
	c.opened.Push("raft", func() error {
		c.applier.stop()
		stopped := c.raft.Shutdown()
		// Raft waits for the calls it has begun, so they are cut first.
		err := errors.Join(transport.Close(), port.Close())
		c.pool.Close()
		nudges.close()
		return errors.Join(err, stopped.Error())
	})

	c.proposer = newProposer(cfg, c.raft, machine, c.clock.millis, c.FeatureLevel, func(index, term uint64, more bool) {
		// The next entry tells the followers by itself.
		if !more && !cfg.WithoutNudge {
			nudges.nudge(index, term)
		}
	})
	c.readIndexes.run = c.readIndex
	c.fresh = newFreshness(c.applier, c.askReadIndex)
	submit := func(raw []byte, reply func([]byte, error)) {
		c.proposer.submitForeign(raw, func(o outcome, err error) {
			if err != nil {
				reply(nil, err)
				return
			}
			reply(encodeOutcome(o), nil)
		})
	}
	server := &peer.Server{Submit: submit, Call: c.handle, Receive: cfg.Receive, Panicked: c.panics.note}
	port.OnRPC = server.Serve
	port.Serve()

	keeper := &snapshotter{cfg: cfg, raft: c.raft, logs: logs, snapshots: snapshots}
	c.opened.Push("loops", func() error {
		c.cancel()
		c.running.Wait()
		c.readIndexes.wait()
		return nil
	})
	c.running.Go(func() { c.watchLeadership(c.ctx, notify) })
	c.running.Go(func() { c.yieldWhenStalled(c.ctx) })
	c.running.Go(func() { c.maintainGossip(c.ctx) })
	c.running.Go(func() { c.fresh.run(c.ctx, c.confirmRemoved, c.removed) })
	c.running.Go(func() { c.watchDuplicates(c.ctx) })
	c.running.Go(func() { c.probeMembers(c.ctx) })
	c.running.Go(func() { keeper.run(c.ctx) })
	c.running.Go(c.enter)
	c.forwarder = newForwarder(cfg, c.leaderLink, c.proposer.checkForeign, &batchEncoder{
		compressor: compress.New(&c.compressed),
		understood: func() bool { return c.proposer.atLevel(compressionLevel) },
	})
	unfollow := c.followLeader()
	c.opened.Push("forwarder", func() error {
		unfollow()
		c.forwarder.close()
		return nil
	})
	return nil
}

// openPort prepares the peer port; it serves once serve is called.
func (c *Cluster) openPort() (*peer.Port, error) {
	self, err := uuid.Parse(c.id)
	if err != nil {
		return nil, fmt.Errorf("parse node id: %w", err)
	}
	address, ok := c.cfg.PeerListener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("peer listener is not TCP but %T", c.cfg.PeerListener)
	}
	c.peerAddress = net.JoinHostPort(c.cfg.Advertise, strconv.Itoa(address.Port))
	proof, err := peer.NewPreauth(c.cfg.Secrets)
	if err != nil {
		return nil, err
	}
	port := peer.NewPort(c.cfg.PeerListener, proof, self, c.log)
	port.Cluster = func() uuid.UUID {
		cluster, err := uuid.Parse(c.identity.read().ClusterID)
		if err != nil {
			return uuid.Nil // none yet: openIdentity has checked it
		}
		return cluster
	}
	return port, nil
}

// nodeMeta returns this node's metadata for gossip.
func (c *Cluster) nodeMeta() gossip.Meta {
	who := c.identity.read()
	return gossip.Meta{
		Name:    c.cfg.NodeName,
		Peer:    c.peerAddress,
		Cluster: who.ClusterID,
		Version: c.cfg.Version,
		Feature: c.cfg.FeatureLevel,
		Start:   who.Starts,
	}
}

// enter brings the node into its cluster and declares it ready.
func (c *Cluster) enter() {
	defer close(c.ready)
	if c.readyErr = c.bootstrap(); c.readyErr != nil {
		return
	}
	if c.readyErr = c.bootstrapOrJoin(c.ctx); c.readyErr != nil {
		return
	}
	if c.readyErr = c.awaitEntry(); c.readyErr != nil {
		return
	}
	if !c.identity.read().Member {
		c.readyErr = c.identity.update(func(f *identityFile) { f.Member = true })
	}
	if c.readyErr == nil {
		c.readyErr = c.rememberMembers()
	}
}

// awaitEntry returns once this node is a member and has caught up, or with the
// reason why it is refused.
func (c *Cluster) awaitEntry() error {
	if len(c.others()) == 0 {
		// It would be in at once, so it looks first for the others that it was told to join.
		select {
		case <-c.looked:
		case <-time.After(lookTimeout):
		case <-c.entering.Done():
		}
		if err := c.findDuplicate(c.entering); err != nil {
			return err
		}
	}
	for c.entering.Err() == nil {
		if c.isMember(c.id) && c.fresh.catchUp(c.entering) == nil {
			return nil
		}
		select {
		case <-time.After(catchUpPause):
		case <-c.entering.Done():
		}
	}
	reason := context.Cause(c.entering)
	if errors.Is(reason, ErrWrongCluster) || errors.Is(reason, ErrDuplicateNode) {
		return reason
	}
	return ErrClosed
}

// leaderLink connects the forwarder to the present leader.
func (c *Cluster) leaderLink(ctx context.Context) (leaderLink, error) {
	_, leader := c.raft.LeaderWithID()
	switch string(leader) {
	case "":
		return nil, fmt.Errorf("%w: no leader is known", ErrUnavailable)
	case c.id:
		return localLink{c.proposer, c.id}, nil
	}
	client, err := c.pool.Client(ctx, string(leader), peer.LaneSubmit)
	if err != nil {
		return nil, err
	}
	return remoteLink{client}, nil
}

// followLeader tells the forwarder of every new leader, until stop.
func (c *Cluster) followLeader() (stop func()) {
	// An observation says that there is something to look at, so one that waits
	// is enough.
	changes := make(chan raft.Observation, 1)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	c.raft.RegisterObserver(observer)
	ctx, cancel := context.WithCancel(c.ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			if _, leader := c.raft.LeaderWithID(); leader != "" {
				c.forwarder.follow(string(leader))
			}
			select {
			case <-changes:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		c.raft.DeregisterObserver(observer)
		cancel()
		running.Wait()
	}
}

// Ready returns once the node is a member of a cluster and has caught up, or with
// the reason why it will not be: ErrTooOld, ErrWrongCluster, ErrDuplicateNode. It waits while another
// member has its name.
func (c *Cluster) Ready(ctx context.Context) error {
	select {
	case <-c.ready:
		return c.readyErr
	case <-ctx.Done():
		return fmt.Errorf("wait for the cluster: %w", ctx.Err())
	}
}

// ID returns this node's id and the cluster's, "" while there is none.
func (c *Cluster) ID() (node, cluster string) {
	who := c.identity.read()
	return who.NodeID, who.ClusterID
}

// Bootstrapped reports whether this node proposed the cluster.
func (c *Cluster) Bootstrapped() bool { return c.identity.read().Bootstrapped }

// PeerAddr returns host and port at which others reach the peer port.
func (c *Cluster) PeerAddr() string { return c.peerAddress }

// GossipAddr returns host and port of this node's gossip.
func (c *Cluster) GossipAddr() string { return c.gossip.Address() }

// Submit has commands applied in their order, after all those submitted before
// on this node. It never blocks and does not keep the slice. done is called
// exactly once for each place in it, from another goroutine, within
// Config.SubmitTimeout; until then the command must not change.
func (c *Cluster) Submit(commands [][]byte, done func(i int, r Result)) {
	c.forwarder.submit(commands, done)
}

// Apply is Submit for a caller that waits. When ctx ends first, the outcome is
// unknown.
func (c *Cluster) Apply(ctx context.Context, command []byte) Result {
	result := make(chan Result, 1)
	c.Submit([][]byte{command}, func(_ int, r Result) { result <- r })
	select {
	case r := <-result:
		return r
	case <-ctx.Done():
		return Result{Err: fmt.Errorf("%w: %w", ErrOutcomeUnknown, ctx.Err())}
	}
}

// CatchUp returns once this node has applied everything that was committed when
// it was called. Callers share rounds to the leader.
func (c *Cluster) CatchUp(ctx context.Context) error { return c.fresh.catchUp(ctx) }

// WaitApplied returns once this node has applied the entry at index.
func (c *Cluster) WaitApplied(ctx context.Context, index uint64) error {
	return c.applier.wait(ctx, index)
}

// WaitEverywhere returns once every member that the leader has heard of lately
// has applied the entry at index.
func (c *Cluster) WaitEverywhere(ctx context.Context, index uint64) error {
	var members []Member
	for _, m := range c.Members() {
		if m.Alive && m.ID != c.id {
			members = append(members, m)
		}
	}
	errs := make(chan error, len(members)+1)
	go func() { errs <- c.applier.wait(ctx, index) }()
	for _, m := range members {
		go func() { errs <- c.waitAt(ctx, m.ID, index) }()
	}
	var all error
	for range len(members) + 1 {
		all = errors.Join(all, <-errs)
	}
	return all
}

// waitAt waits for one member, over any number of connections.
func (c *Cluster) waitAt(ctx context.Context, node string, index uint64) error {
	for {
		_, err := request[struct{}](ctx, c.pool, node, peer.MethodApplied, appliedRequest{Index: index})
		if err == nil {
			return nil
		}
		select {
		case <-time.After(catchUpPause):
		case <-ctx.Done():
			return err
		}
	}
}

// Staleness is the age of the last proof that this node was up to date; huge
// when there was none.
func (c *Cluster) Staleness() time.Duration { return c.fresh.staleness() }

// Stalled says what keeps this node from applying or from writing its state, ""
// when nothing does.
func (c *Cluster) Stalled() string { return c.cfg.Stalls.Stalled() }

// Query sends a request to a node's Config.Handle, this node's included.
func (c *Cluster) Query(ctx context.Context, node string, request []byte) ([]byte, error) {
	if node == c.id {
		return c.cfg.Handle(ctx, c.id, request)
	}
	return c.pool.Call(ctx, node, peer.LaneControl, peer.MethodQuery, request)
}

// Send hands a message to another node's Config.Receive and returns the answer. Messages
// travel apart from all other traffic. One that fails may have been taken.
func (c *Cluster) Send(ctx context.Context, node string, message []byte) ([]byte, error) {
	return c.pool.Call(ctx, node, peer.LaneMessage, peer.MethodMessage, message)
}

// Start counts how often this node was started.
func (c *Cluster) Start() uint64 { return c.identity.read().Starts }

// Close stops the node. It does not hand over leadership; see
// TransferLeadership.
func (c *Cluster) Close() error {
	var err error
	c.closing.Do(func() { err = c.opened.Run() })
	return err
}

// Package gateway is the clients' side of a node: sockets, frames, subscriptions, fan-out and
// HTTP. It sees neither Raft nor peers. Everything that it needs of the cluster it asks of
// its Broker. DESIGN.md beside this file says how it works.
package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/presence"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/quota"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/traffic"
	"github.com/aptlyd/aptlyd/internal/machine"
)

// Server is a gateway: it serves clients on one listener.
type Server struct {
	cfg             Config
	step            time.Duration // of the loops' wheels
	spare           int           // descriptors that are kept
	ctx             context.Context
	cancel          context.CancelFunc
	metrics         *metrics
	traffic         traffic.Book // of everything outside the loops
	http            *http.Server
	adminHTTP       *http.Server // of the operators' own port; nil without
	loops           []*loop
	interest        *interest
	workers         *workers
	proxies         clientaddr.Proxies
	failures        *auth.FailureLimiter
	admin           *admin.Handler
	throttles       *throttles
	quotas          *quota.Counter
	tolerance       tolerance
	refusedFrames   *ratelimit.Limiter // frames that were refused, by key and address
	readings        *readings
	bodies          *ratelimit.InFlight // bytes of bodies
	floods          *ratelimit.Limiter  // connections closed because of their frames, by key and address
	replacing       chan struct{}       // held while other nodes are asked for a replacement
	refusals        refusal.Log
	members         *presence.Members
	feed            *presence.Feed // what watchers of members are told
	membersMoved    chan struct{}  // holds a token when members may have changed
	pauses          pauseDetector
	handshakes      *clientaddr.Counter // clients whose first request has not come in full
	unauthenticated *clientaddr.Counter // clients that have not authenticated
	turnQueue       *turnQueue          // of TLS handshakes and requests
	tlsHandshakes   *ratelimit.Limiter  // by address
	handoff         *handoffListener
	instance        [4]byte // tells this process's connection ids from all others

	operable     atomic.Bool // operators are answered from what this node knows
	open         atomic.Bool
	opened       chan struct{} // closed by Open
	held         atomic.Int64  // upgrades that wait for it
	unready      atomic.Bool   // load balancers are told to send no clients
	lastReady    atomic.Uint64 // the newest connection when that began
	draining     atomic.Bool   // no client is taken
	connections  atomic.Int64
	pendingConns atomic.Int64 // accepted sockets that are no connection of a loop, or not yet
	lastConn     atomic.Uint64
	running      sync.WaitGroup
	requests     sync.RWMutex // read-held by each HTTP request
	closing      sync.Once
	stopped      sync.Once
	closed       error // from closing the listener
}

// New starts a gateway that answers /healthz and /readyz and turns everything
// else away until Open is called. The Broker is asked nothing but Obstacle and Stalled before
// that, or before OpenToOperators.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	if most := connectionLimit(); cfg.MaxConnections > most {
		cfg.Logger.Warn("max-connections is more than the descriptor limit allows and was lowered; "+
			"raise the limit (ulimit -n, LimitNOFILE=)",
			"asked", cfg.MaxConnections, "now", most, "descriptors", machine.DescriptorLimit())
		cfg.MaxConnections = most
	}
	m, err := newMetrics(cfg.Registry, cfg.Version)
	if err != nil {
		return nil, fmt.Errorf("gateway: register metrics: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg:             cfg,
		step:            wheelStep(&cfg),
		spare:           spareDescriptors(),
		ctx:             ctx,
		cancel:          cancel,
		metrics:         m,
		proxies:         clientaddr.Proxies{Trusted: cfg.TrustedProxies, PROXY: cfg.ProxyProtocol, Hosts: cfg.AllowedHosts},
		interest:        newInterest(),
		handshakes:      clientaddr.NewCounter(cfg.MaxHandshakes, cfg.MaxAddressHandshakes),
		unauthenticated: newUnauthenticated(cfg.MaxAddressUnauthenticated, cfg.MaxConnections),
		turnQueue:       newTurnQueue(),
		tlsHandshakes:   ratelimit.NewLimiter(),
		handoff:         newHandoffListener(cfg.Listener.Addr()),
		pauses:          pauseDetector{began: time.Now()},
		failures:        auth.NewFailureLimiter(ratelimit.PerSecond(float64(cfg.FailedAuthRate), cfg.FailedAuthBurst)),
		opened:          make(chan struct{}),
		throttles:       newThrottles(&cfg.Limits),
		quotas:          quota.NewCounter(),
		replacing:       make(chan struct{}, maxReplacements),
		membersMoved:    make(chan struct{}, 1),
		tolerance:       newTolerance(&cfg.Limits),
		floods:          ratelimit.NewLimiter(),
		readings:        newReadings(&cfg.Limits),
		refusedFrames:   ratelimit.NewLimiter(),
		bodies:          ratelimit.NewInFlight(cfg.MaxBodyBytes, cfg.MaxBodyBytes, cfg.MaxAddressBodyBytes),
	}
	if _, err := rand.Read(s.instance[:]); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	s.members = presence.New(presence.Config{Rule: s.presenceRule, Changed: func() {
		select {
		case s.membersMoved <- struct{}{}:
		default:
		}
	}})
	s.feed = presence.NewFeed(s.members, protocol.FrameText)
	if err := s.registerGauges(); err != nil {
		return nil, fmt.Errorf("gateway: register metrics: %w", err)
	}
	requests, err := s.makeLoops()
	if err != nil {
		for _, l := range s.loops {
			l.poller.Close()
		}
		cancel()
		return nil, fmt.Errorf("gateway: start event loop: %w", err)
	}
	s.workers = startWorkers(cfg.Workers)
	for _, l := range s.loops {
		s.running.Go(l.run)
	}
	s.running.Go(s.trimMemory)
	s.running.Go(s.keepMembers)
	s.running.Go(func() { s.pauses.observe(ctx) })
	s.admin = s.newAdmin()
	s.http = s.newHTTPServer(s.handler(s.clientRoutes()))
	s.serveOperators()
	s.running.Go(func() {
		// A node that must not go on closes the listener first of all.
		if err := s.http.Serve(s.strict(requests)); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			cfg.Fatal(fmt.Errorf("serve clients: %w", err))
		}
	})
	return s, nil
}

// makeLoops makes the event loops and returns the listener that net/http serves.
func (s *Server) makeLoops() (net.Listener, error) {
	for i := range s.cfg.Loops {
		l, err := newLoop(s, i)
		if err != nil {
			return nil, err
		}
		s.loops = append(s.loops, l)
	}
	clients := &limitListener{s.cfg.Listener, s}
	if s.cfg.TLS != nil {
		return tls.NewListener(clients, s.cfg.TLS), nil
	}
	from, ok := s.loops[0].poller.(poll.Acceptor)
	if listener, tcp := s.cfg.Listener.(*net.TCPListener); ok && tcp {
		return s.handoff, s.loops[0].listen(from, listener)
	}
	return clients, nil
}

// wheelStep returns the coarsest step that the shortest timeout allows.
func wheelStep(cfg *Config) time.Duration {
	step := 100 * time.Millisecond
	for _, d := range []time.Duration{
		cfg.AuthTimeout, cfg.FrameTimeout, cfg.Heartbeat, cfg.PingAfter, cfg.StallTimeout, cfg.CloseGrace,
	} {
		step = min(step, max(d/4, time.Millisecond))
	}
	return step
}

// Open begins to serve clients. The node has caught up.
func (s *Server) Open() {
	s.failures.Learn(s.cfg.Broker.Audit(0, auth.MaxEndedKeys))
	epoch := s.cfg.Broker.Epoch()
	s.onLoops(func(l *loop) { l.epoch = epoch })
	s.open.Store(true)
	close(s.opened)
}

// OpenToOperators begins to answer calls of the admin API that concern this node alone, while
// it may still wait for its cluster. The node has its state.
func (s *Server) OpenToOperators() { s.operable.Store(true) }

// maxHeld bounds the upgrades that wait for a node to open. Each costs a goroutine.
const maxHeld = 1024

// awaitOpen waits for the node to open, for as long as an upgrade is held. A client that
// is refused then may not come back.
func (s *Server) awaitOpen(ctx context.Context) bool {
	endRequestTurn(ctx)
	defer s.held.Add(-1)
	if s.held.Add(1) > maxHeld {
		return false
	}
	patience := time.NewTimer(s.cfg.UpgradeHold)
	defer patience.Stop()
	select {
	case <-s.opened:
		return true
	case <-patience.C:
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	return false
}

// Unready turns /readyz to 503. A moment later, when balancers have seen it, the server
// refuses new clients. Connected ones stay.
func (s *Server) Unready() {
	if s.unready.Swap(true) {
		return
	}
	s.lastReady.Store(s.lastConn.Load())
	time.AfterFunc(s.cfg.DrainLinger, func() { s.draining.Store(true) })
}

// Serving reports whether the server takes clients and wants more.
func (s *Server) Serving() bool { return s.open.Load() && !s.unready.Load() }

// Addr returns the address that clients connect to.
func (s *Server) Addr() net.Addr { return s.cfg.Listener.Addr() }

// ConnectionCount returns how many connections this node has, over every transport.
func (s *Server) ConnectionCount() int { return int(s.connections.Load()) }

// Abort closes the listener and resets every connection. It does not wait for requests
// to the Broker, as the node must not go on.
func (s *Server) Abort() {
	s.closing.Do(func() {
		s.draining.Store(true)
		ends := []error{s.cfg.Listener.Close(), s.http.Close()}
		if s.adminHTTP != nil {
			ends = append(ends, s.cfg.AdminListener.Close(), s.adminHTTP.Close())
		}
		for _, err := range ends {
			if !errors.Is(err, net.ErrClosed) {
				s.closed = errors.Join(s.closed, err)
			}
		}
		s.cancel()
		for _, l := range s.loops {
			l.stop()
		}
	})
	s.running.Wait()
}

// Close stops serving at once and waits for everything that serves.
func (s *Server) Close() error {
	s.Abort()
	s.stopped.Do(func() {
		// A request under way finds its context ended. The lock is never given
		// back, so that later ones are turned away.
		s.requests.Lock()
		s.workers.close()
	})
	return s.closed
}

// admitConnection counts a new connection in, unless there are too many.
func (s *Server) admitConnection() bool {
	if s.connections.Add(1) > int64(s.cfg.MaxConnections) {
		s.connections.Add(-1)
		return false
	}
	s.metrics.connections.Inc()
	return true
}

// acceptBlocked returns why no other client may be accepted now, empty when one may.
func (s *Server) acceptBlocked() (reason string) {
	switch {
	case s.handshakes.Full():
		return "handshakes"
	case s.connections.Load()+s.pendingConns.Load() >= int64(s.cfg.MaxConnections+s.spare/2):
		return "connections"
	}
	return ""
}

func (s *Server) connectionEnded() {
	s.connections.Add(-1)
	s.metrics.connections.Dec()
}

// connectionName returns an id that no two connections of a cluster share. Names of one
// process sort by age.
func (s *Server) connectionName(id uint64) string {
	var b [12]byte
	copy(b[:4], s.instance[:])
	binary.BigEndian.PutUint64(b[4:], id)
	return hex.EncodeToString(b[:])
}

func (s *Server) staleness() time.Duration { return s.cfg.Broker.Staleness() }

// paused reports whether the process was stopped and has not yet proved that it is up to
// date. Before Open there is nobody to ask for a proof.
func (s *Server) paused() bool { return s.open.Load() && s.pauses.paused(s.staleness) }

// available returns a refusal when this node may not let anybody in now.
func (s *Server) available() *refusal.Error {
	if s.draining.Load() {
		return refuseDraining()
	}
	if s.staleness() > RefuseAfter || s.paused() {
		return s.refuseStale()
	}
	return nil
}

// refuseStale refuses what a node that is not up to date cannot do, and says why it is not.
func (s *Server) refuseStale() *refusal.Error {
	reason, _ := s.cfg.Broker.Obstacle()
	reason = cmp.Or(reason, "node is cut off from its cluster")
	return &refusal.Error{Code: refusal.Unavailable, Reason: reason, RetryAfter: time.Second}
}

// refuseStarting refuses what a node cannot do before it is open, and says what it waits for.
func (s *Server) refuseStarting() *refusal.Error {
	reason := "node is starting"
	if obstacle, _ := s.cfg.Broker.Obstacle(); obstacle != "" {
		reason += ": " + obstacle
	}
	return &refusal.Error{Code: refusal.Unavailable, Reason: reason, RetryAfter: time.Second}
}

func refuseDraining() *refusal.Error {
	return &refusal.Error{Code: refusal.Unavailable, Reason: "node is draining", RetryAfter: time.Second}
}

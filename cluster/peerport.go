package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/cluster/logbridge"
)

const (
	handshakeTimeout = 5 * time.Second
	// userTimeout is how long sent bytes may stay unacknowledged before the
	// kernel gives a peer connection up. TCP doubles the time between two attempts
	// to send them, so the longer it goes on the later it notices that the peer can be
	// reached again: after 6 s of silence the next attempt is 6.6 s away.
	userTimeout = 4 * time.Second
	// connectTimeout bounds one attempt to connect, for the same reason.
	connectTimeout = 1500 * time.Millisecond
)

// peerConn is a connection whose both ends have proved who they are.
type peerConn struct {
	net.Conn
	peer string // node id of the other end
	// outsider: one of the two had no cluster id when the connection began.
	outsider bool
}

// peerPort is the one listener between nodes, and the way to dial others'.
type peerPort struct {
	listener net.Listener
	preauth  *preauth
	self     uuid.UUID
	cluster  func() uuid.UUID
	resolve  func(node string) (address string, err error)
	onRPC    func(*peerConn)
	logger   *slog.Logger

	raft    chan *peerConn // accepted, for Raft's transport
	pending pendingConns
	refused logbridge.Throttle
	stop    context.CancelFunc
	stopped context.Context
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]purpose // 0 unless accepted for it; nil once closed
}

func newPeerPort(listener net.Listener, proof *preauth, self uuid.UUID, logger *slog.Logger) *peerPort {
	stopped, stop := context.WithCancel(context.Background())
	return &peerPort{
		listener: listener,
		preauth:  proof,
		self:     self,
		logger:   logger,
		raft:     make(chan *peerConn),
		stop:     stop,
		stopped:  stopped,
		conns:    make(map[net.Conn]purpose),
	}
}

// serve accepts until close.
func (p *peerPort) serve() {
	p.running.Go(func() {
		var pause time.Duration
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				p.logger.Warn("peer port cannot accept", "err", err)
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				select {
				case <-time.After(pause):
					continue
				case <-p.stopped.Done():
					return
				}
			}
			pause = 0
			if !p.track(conn) {
				continue
			}
			p.pending.enter(conn)
			p.running.Go(func() { p.accept(conn) })
		}
	})
}

// accept shakes hands and hands the connection to its purpose.
func (p *peerPort) accept(raw net.Conn) {
	conn, h, err := p.acceptHandshake(raw)
	p.pending.leave(raw)
	if err != nil {
		_ = p.drop(raw)
		logRefused(p.logger, &p.refused, "peer port", raw, err)
		return
	}
	peer := &peerConn{
		Conn:     &trackedConn{Conn: conn, port: p, raw: raw},
		peer:     h.from.String(),
		outsider: h.cluster == uuid.Nil || p.cluster() == uuid.Nil,
	}
	switch h.purpose {
	case purposeRaft:
		p.mu.Lock()
		if _, open := p.conns[raw]; open {
			p.conns[raw] = purposeRaft
		}
		p.mu.Unlock()
		select {
		case p.raft <- peer:
		case <-p.stopped.Done():
			_ = p.drop(raw)
		}
	case purposeRPC:
		p.onRPC(peer)
		_ = p.drop(raw)
	}
}

// logRefused notes a connection that did not come through a port's pending connections. Only
// who lacks the secret is of interest to an operator.
func logRefused(logger *slog.Logger, lines *logbridge.Throttle, port string, raw net.Conn, reason error) {
	remote := raw.RemoteAddr().String()
	if !errors.Is(reason, errNoSecret) {
		logger.Debug(port+" refused a connection", "remote", remote, "err", reason)
		return
	}
	host, _, _ := net.SplitHostPort(remote)
	if muted, ok := lines.Pass(host, time.Now()); ok {
		logger.Warn(port+" refused a stranger", "remote", remote, "err", reason, "muted", muted)
	}
}

// acceptHandshake is the acceptor's half of the handshake.
func (p *peerPort) acceptHandshake(raw net.Conn) (net.Conn, hello, error) {
	var h hello
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, h, fmt.Errorf("set deadline: %w", err)
	}
	if err := tunePeerSocket(raw); err != nil {
		return nil, h, err
	}
	conn, err := p.preauth.accept(p.stopped, raw)
	if err != nil {
		return nil, h, err
	}
	b, err := readExactly(conn, helloBytes)
	if err != nil {
		return nil, h, fmt.Errorf("read hello: %w", err)
	}
	if h, err = decodeHello(b); err != nil {
		return nil, h, err
	}
	cluster := p.cluster()
	ack := helloAck{cluster: cluster, self: p.self}
	refusal := h.judge(p.self, cluster)
	if refusal != nil {
		ack.code, _ = encodeError(refusal)
	}
	if _, err := conn.Write(ack.encode()); err != nil {
		return nil, h, fmt.Errorf("answer hello: %w", err)
	}
	if refusal != nil {
		return nil, h, fmt.Errorf("hello from %s: %w", h.from, refusal)
	}
	return conn, h, raw.SetDeadline(time.Time{})
}

// dial connects to a node by its id. Its address is a hint; the node behind it
// has to prove that it is the one.
func (p *peerPort) dial(ctx context.Context, node string, why purpose) (*peerConn, error) {
	to, err := uuid.Parse(node)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", node, err)
	}
	address, err := p.resolve(node)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", node, err)
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	defer context.AfterFunc(p.stopped, cancel)()
	dialer := net.Dialer{Timeout: connectTimeout}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", node, err)
	}
	if !p.track(raw) {
		return nil, ErrClosed
	}
	conn, outsider, err := p.dialHandshake(ctx, raw, to, why)
	if err != nil {
		_ = p.drop(raw)
		return nil, fmt.Errorf("dial %s at %s: %w", node, address, err)
	}
	return &peerConn{Conn: &trackedConn{Conn: conn, port: p, raw: raw}, peer: node, outsider: outsider}, nil
}

// dialHandshake is the dialler's half of the handshake.
func (p *peerPort) dialHandshake(ctx context.Context, raw net.Conn, to uuid.UUID, why purpose) (net.Conn, bool, error) {
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, false, fmt.Errorf("set deadline: %w", err)
	}
	if err := tunePeerSocket(raw); err != nil {
		return nil, false, err
	}
	conn, err := p.preauth.dial(ctx, raw)
	if err != nil {
		return nil, false, err
	}
	cluster := p.cluster()
	h := hello{purpose: why, cluster: cluster, from: p.self, to: to}
	if _, err := conn.Write(h.encode()); err != nil {
		return nil, false, fmt.Errorf("say hello: %w", err)
	}
	b, err := readExactly(conn, helloAckBytes)
	if err != nil {
		return nil, false, fmt.Errorf("read answer to hello: %w", err)
	}
	ack, err := decodeHelloAck(b)
	if err != nil {
		return nil, false, err
	}
	if ack.code != 0 {
		return nil, false, decodeError(ack.code, "")
	}
	// The mirror image of the acceptor's judgement: what it says of itself must
	// be what was meant.
	if err := (hello{purpose: why, cluster: ack.cluster, from: p.self, to: ack.self}).judge(to, cluster); err != nil {
		return nil, false, err
	}
	return conn, cluster == uuid.Nil || ack.cluster == uuid.Nil, raw.SetDeadline(time.Time{})
}

// cutRaft cuts the connections on which peers send Raft's messages. They are made
// anew when the next one is sent.
func (p *peerPort) cutRaft() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn, what := range p.conns {
		if what == purposeRaft {
			conn.Close() // whoever reads from it learns enough
		}
	}
}

// cut stops accepting and cuts every connection.
func (p *peerPort) cut() error {
	p.stop()
	err := p.listener.Close()
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for conn := range conns {
		conn.Close() // whatever it says, the connection is over
	}
	return err
}

// close cuts everything and waits.
func (p *peerPort) close() error {
	err := p.cut()
	p.running.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close peer port: %w", err)
	}
	return nil
}

// track remembers a connection so that close can cut it. It closes conn and
// returns false when the port is closed already.
func (p *peerPort) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		conn.Close()
		return false
	}
	p.conns[conn] = 0
	return true
}

func (p *peerPort) drop(conn net.Conn) error {
	p.mu.Lock()
	delete(p.conns, conn)
	p.mu.Unlock()
	return conn.Close()
}

// trackedConn forgets itself when it is closed.
type trackedConn struct {
	net.Conn
	port *peerPort
	raw  net.Conn
}

func (c *trackedConn) Close() error { return c.port.drop(c.raw) }

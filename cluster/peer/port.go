package peer

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
	// HandshakeTimeout bounds a handshake, its proof included.
	HandshakeTimeout = 5 * time.Second
	// userTimeout bounds how long sent bytes may stay unacknowledged before the
	// kernel gives a peer connection up. TCP doubles the time between two attempts
	// to send them, so the longer it goes on the later it notices that the peer can be
	// reached again: after 6 s of silence the next attempt is 6.6 s away.
	userTimeout = 4 * time.Second
	// connectTimeout bounds one attempt to connect, for the same reason.
	connectTimeout = 1500 * time.Millisecond
)

// Conn is a connection whose both ends have proved who they are.
type Conn struct {
	net.Conn
	Peer string // node id of the other end
	// outsider: one of the two had no cluster id when the connection began.
	outsider bool
}

// Port is the one listener between nodes, and dials the ports of other nodes.
type Port struct {
	listener net.Listener
	Preauth  *Preauth
	Self     uuid.UUID
	// Probe is the id under which this process dials its own node id elsewhere. A connection
	// from it has come back to where it was made.
	Probe   uuid.UUID
	Cluster func() uuid.UUID
	Resolve func(node string) (address string, err error)
	Name    func(node string) string // what people call a node
	OnRPC   func(*Conn)
	logger  *slog.Logger

	Raft    chan *Conn // accepted, for Raft's transport
	pending PendingConns
	refused logbridge.Throttle
	Stop    context.CancelFunc
	Stopped context.Context
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]purpose // 0 unless accepted for it; nil once closed
}

// NewPort returns a port that serves once Serve is called.
func NewPort(listener net.Listener, proof *Preauth, self uuid.UUID, logger *slog.Logger) *Port {
	stopped, stop := context.WithCancel(context.Background())
	return &Port{
		listener: listener,
		Preauth:  proof,
		Self:     self,
		Probe:    uuid.New(),
		logger:   logger,
		Raft:     make(chan *Conn),
		Stop:     stop,
		Stopped:  stopped,
		conns:    make(map[net.Conn]purpose),
	}
}

// Serve accepts connections until Close.
func (p *Port) Serve() {
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
				case <-p.Stopped.Done():
					return
				}
			}
			pause = 0
			if !p.track(conn) {
				continue
			}
			p.pending.Enter(conn)
			p.running.Go(func() { p.accept(conn) })
		}
	})
}

// accept performs the handshake and passes the connection on to its purpose.
func (p *Port) accept(raw net.Conn) {
	conn, h, err := p.acceptHandshake(raw)
	p.pending.Leave(raw)
	if err != nil {
		_ = p.drop(raw)
		LogRefused(p.logger, &p.refused, "peer port", raw, err)
		return
	}
	peer := &Conn{
		Conn:     &trackedConn{Conn: conn, port: p, raw: raw},
		Peer:     h.From.String(),
		outsider: h.Cluster == uuid.Nil || p.Cluster() == uuid.Nil,
	}
	switch h.Purpose {
	case PurposeRaft:
		p.mu.Lock()
		if _, open := p.conns[raw]; open {
			p.conns[raw] = PurposeRaft
		}
		p.mu.Unlock()
		select {
		case p.Raft <- peer:
		case <-p.Stopped.Done():
			_ = p.drop(raw)
		}
	case PurposeRPC:
		p.OnRPC(peer)
		_ = p.drop(raw)
	}
}

// LogRefused logs a connection that was refused by a port. Operators are told only of
// connections without the cluster secret.
func LogRefused(logger *slog.Logger, lines *logbridge.Throttle, port string, raw net.Conn, reason error) {
	remote := raw.RemoteAddr().String()
	if !errors.Is(reason, errNoSecret) {
		logger.Debug(port+" refused a connection", "remote", remote, "err", reason)
		return
	}
	host, _, _ := net.SplitHostPort(remote)
	if muted, ok := lines.Pass(host, time.Now()); ok {
		logger.Warn(port+" refused a connection without the cluster secret", "remote", remote, "err", reason, "muted", muted)
	}
}

// acceptHandshake performs the acceptor's half of the handshake.
func (p *Port) acceptHandshake(raw net.Conn) (net.Conn, Hello, error) {
	var h Hello
	if err := raw.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return nil, h, fmt.Errorf("set deadline: %w", err)
	}
	if err := tunePeerSocket(raw); err != nil {
		return nil, h, err
	}
	conn, err := p.Preauth.Accept(p.Stopped, raw)
	if err != nil {
		return nil, h, err
	}
	b, err := ReadExactly(conn, helloBytes)
	if err != nil {
		return nil, h, fmt.Errorf("read hello: %w", err)
	}
	if h, err = DecodeHello(b); err != nil {
		return nil, h, err
	}
	cluster := p.Cluster()
	ack := HelloAck{cluster: cluster, self: p.Self}
	refusal := h.judge(p.Self, cluster)
	if h.From == p.Probe {
		refusal = ErrWrongNode
	}
	if refusal != nil {
		ack.Code, _ = encodeError(refusal)
	}
	if _, err := conn.Write(ack.Encode()); err != nil {
		return nil, h, fmt.Errorf("answer hello: %w", err)
	}
	if refusal != nil {
		return nil, h, fmt.Errorf("hello from %s: %w", h.From, refusal)
	}
	return conn, h, raw.SetDeadline(time.Time{})
}

// Dial connects to a node by its id. Its address is a hint; the node behind it
// has to prove that it is the one.
func (p *Port) Dial(ctx context.Context, node string, why purpose) (*Conn, error) {
	to, err := uuid.Parse(node)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", node, err)
	}
	address, err := p.Resolve(node)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", p.nameOf(node), err)
	}
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	defer context.AfterFunc(p.Stopped, cancel)()
	dialer := net.Dialer{Timeout: connectTimeout}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", p.nameOf(node), err)
	}
	if !p.track(raw) {
		return nil, ErrClosed
	}
	conn, outsider, err := p.dialHandshake(ctx, raw, to, why)
	if err != nil {
		_ = p.drop(raw)
		return nil, fmt.Errorf("dial %s at %s: %w", p.nameOf(node), address, err)
	}
	return &Conn{Conn: &trackedConn{Conn: conn, port: p, raw: raw}, Peer: node, outsider: outsider}, nil
}

// nameOf returns what people call a node.
func (p *Port) nameOf(node string) string {
	if p.Name == nil {
		return node
	}
	return p.Name(node)
}

// dialHandshake performs the dialler's half of the handshake.
func (p *Port) dialHandshake(ctx context.Context, raw net.Conn, to uuid.UUID, why purpose) (net.Conn, bool, error) {
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, false, fmt.Errorf("set deadline: %w", err)
	}
	if err := tunePeerSocket(raw); err != nil {
		return nil, false, err
	}
	conn, err := p.Preauth.Dial(ctx, raw)
	if err != nil {
		return nil, false, err
	}
	cluster := p.Cluster()
	h := Hello{Purpose: why, Cluster: cluster, From: p.Self, To: to}
	if _, err := conn.Write(h.Encode()); err != nil {
		return nil, false, fmt.Errorf("say hello: %w", err)
	}
	b, err := ReadExactly(conn, HelloAckBytes)
	if err != nil {
		return nil, false, fmt.Errorf("read answer to hello: %w", err)
	}
	ack, err := DecodeHelloAck(b)
	if err != nil {
		return nil, false, err
	}
	if ack.Code != 0 {
		return nil, false, DecodeError(ack.Code, "")
	}
	// The acceptor's check in reverse: the node that answers must be the one that was meant.
	if err := (Hello{Purpose: why, Cluster: ack.cluster, From: p.Self, To: ack.self}).judge(to, cluster); err != nil {
		return nil, false, err
	}
	return conn, cluster == uuid.Nil || ack.cluster == uuid.Nil, raw.SetDeadline(time.Time{})
}

// CutRaft cuts the connections on which peers send Raft's messages. They are made
// anew when the next one is sent.
func (p *Port) CutRaft() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn, what := range p.conns {
		if what == PurposeRaft {
			conn.Close() // its reader gets an error
		}
	}
}

// Cut stops accepting and cuts every connection.
func (p *Port) Cut() error {
	p.Stop()
	err := p.listener.Close()
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for conn := range conns {
		conn.Close() // the connection is over, error or not
	}
	return err
}

// Close cuts everything and waits.
func (p *Port) Close() error {
	err := p.Cut()
	p.running.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close peer port: %w", err)
	}
	return nil
}

// track remembers a connection so that Cut can close it. It closes conn and
// returns false when the port is closed already.
func (p *Port) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		conn.Close()
		return false
	}
	p.conns[conn] = 0
	return true
}

func (p *Port) drop(conn net.Conn) error {
	p.mu.Lock()
	delete(p.conns, conn)
	p.mu.Unlock()
	return conn.Close()
}

// trackedConn forgets itself when it is closed.
type trackedConn struct {
	net.Conn
	port *Port
	raw  net.Conn
}

func (c *trackedConn) Close() error { return c.port.drop(c.raw) }

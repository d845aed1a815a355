package gateway

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// guest is a client that net/http serves. What was read of its first request
// before it came there is read first.
type guest struct {
	net.Conn
	early   []byte
	arrived sync.Once
	arrive  func() // called once, when its first request is read, or it is closed
	left    sync.Once
	leave   func()        // called once, when it is closed or a connection
	forget  func()        // called once, when its client is known, or it is closed or a connection
	idle    time.Duration // how long it may bring nothing before its client is known
	trusted bool          // it is a proxy's, whose idle connections are its own affair
	remote  net.Addr      // of whom a proxy speaks for, nil for who is connected

	server  *Server // set where proxied is
	proxied bool    // it begins with a header of the PROXY protocol
	heard   sync.Once
	broken  error // of that header

	mu     sync.Mutex
	proved bool
	asked  time.Time // the read deadline that net/http has set
}

// speaksFor notes that a proxy has said for whom it speaks.
func (g *guest) speaksFor(s *Server, client netip.Addr) {
	g.remote = net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0))
	g.trusted = s.proxies.Trust(client.String())
}

// RemoteAddr implements net.Conn. net/http asks for it before all else.
func (g *guest) RemoteAddr() net.Addr {
	if g.proxied {
		g.heard.Do(g.hearProxy)
	}
	if g.remote != nil {
		return g.remote
	}
	return g.Conn.RemoteAddr()
}

// hearProxy reads the header that a proxy sends in front of everything else.
func (g *guest) hearProxy() {
	if g.broken = g.Conn.SetReadDeadline(time.Now().Add(g.server.cfg.HandshakeTimeout)); g.broken != nil {
		return
	}
	var said []byte
	buffer := make([]byte, 512)
	for {
		n, err := g.Conn.Read(buffer)
		said = append(said, buffer[:n]...)
		client, end, wrong := clientaddr.ParseHeader(said)
		if wrong != nil {
			refused := websocket.Malformed(wrong.Error())
			g.server.metrics.handshakeRefused(refused.Status)
			g.server.refused(handshakeRefusal(refused), "handshake", newPeer(clientaddr.Of(g.Conn).String(), "", ""))
			err = wrong
		} else if end > 0 {
			if client.IsValid() {
				g.speaksFor(g.server, client)
			}
			g.early = said[end:]
			err = g.Conn.SetReadDeadline(time.Time{})
		}
		if err != nil || end > 0 {
			g.broken = err
			return
		}
	}
}

func (s *Server) newGuest(socket net.Conn, early []byte, from netip.Addr) *guest {
	return &guest{
		Conn: socket, early: early,
		forget:  func() { s.unauthenticated.leave(from) },
		idle:    s.cfg.UnauthenticatedIdle,
		trusted: s.proxies.Trust(from.String()),
	}
}

// prove says that the client is known. The wait for what it sends is as long as net/http
// means it to be from now on.
func (g *guest) prove() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.proved {
		return
	}
	g.proved = true
	g.forget()
	if !g.trusted {
		_ = g.Conn.SetReadDeadline(g.asked) // an error means that it has gone, which a read says
	}
}

// SetReadDeadline lets net/http wait for as long as it means to, if the client is
// known.
func (g *guest) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = t
	if !g.proved && !g.trusted {
		if soon := time.Now().Add(g.idle); t.IsZero() || t.After(soon) {
			t = soon
		}
	}
	return g.Conn.SetReadDeadline(t)
}

// depart says that the socket is closed or a connection now.
func (g *guest) depart() {
	g.left.Do(g.leave)
	g.prove()
}

func (g *guest) Read(p []byte) (int, error) {
	if g.proxied {
		if g.heard.Do(g.hearProxy); g.broken != nil {
			return 0, g.broken
		}
	}
	if len(g.early) == 0 {
		return g.Conn.Read(p)
	}
	n := cut(&g.early, copy(p, g.early))
	return n, nil
}

// CloseWrite lets net/http end a connection so that its last answer is read.
func (g *guest) CloseWrite() error {
	if tcp, ok := poll.TCP(g.Conn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

func (g *guest) Close() error {
	g.arrived.Do(g.arrive)
	g.depart()
	return g.Conn.Close()
}

// guestOf returns the guest that a client's socket is or is laid upon.
func guestOf(socket net.Conn) (g *guest, ok bool) {
	if encrypted, is := socket.(*tls.Conn); is {
		socket = encrypted.NetConn()
	}
	g, ok = socket.(*guest)
	return g, ok
}

// NetConn returns the connection that the guest is laid upon.
func (g *guest) NetConn() net.Conn { return g.Conn }

// lobby is the net.Listener through which net/http gets its guests.
type lobby struct {
	addr  net.Addr
	queue chan net.Conn
	done  chan struct{}

	mu     sync.Mutex
	closed bool
}

// lobbySize is how many guests may wait for net/http, which does nothing with
// one but start a goroutine.
const lobbySize = 1024

func newLobby(addr net.Addr) *lobby {
	return &lobby{addr: addr, queue: make(chan net.Conn, lobbySize), done: make(chan struct{})}
}

// admit hands a guest over. It reports false, and leaves the guest to the
// caller, when too many wait or the lobby is closed.
func (l *lobby) admit(g *guest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	select {
	case l.queue <- g:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener.
func (l *lobby) Accept() (net.Conn, error) {
	select {
	case socket := <-l.queue:
		return socket, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Guests that wait are closed.
func (l *lobby) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case socket := <-l.queue:
			_ = socket.Close()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (l *lobby) Addr() net.Addr { return l.addr }

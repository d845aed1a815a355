package gateway

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// httpConn is a connection that net/http serves. It first reads the bytes of the first
// request that a loop has read before.
type httpConn struct {
	net.Conn
	early          []byte
	firstRequest   sync.Once
	onFirstRequest func() // called once, when its first request is read, or it is closed
	closed         sync.Once
	onClose        func()        // called once, when it is closed or a connection
	onProved       func()        // called once, when its client is known, or it is closed or a connection
	idle           time.Duration // how long it may bring nothing before its client is known
	trusted        bool          // it is a proxy's, whose idle connections are its own affair
	remote         net.Addr      // of the client that a proxy speaks for, nil without one

	server     *Server
	proxied    bool // it begins with a header of the PROXY protocol
	headerRead sync.Once
	headerErr  error // of that header

	handshakeTurn, requestTurn turn

	mu       sync.Mutex
	proved   bool
	deadline time.Time // the read deadline that net/http has set
}

// setClient notes the client that a proxy speaks for.
func (g *httpConn) setClient(s *Server, client netip.Addr) {
	g.remote = net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0))
	g.trusted = s.proxies.Trust(client.String())
}

// RemoteAddr implements net.Conn. net/http calls it before all else.
func (g *httpConn) RemoteAddr() net.Addr {
	if g.proxied {
		g.headerRead.Do(g.readProxyHeader)
	}
	if g.remote != nil {
		return g.remote
	}
	return g.Conn.RemoteAddr()
}

// readProxyHeader reads the header that a proxy sends in front of everything else.
func (g *httpConn) readProxyHeader() {
	if g.headerErr = g.Conn.SetReadDeadline(time.Now().Add(g.server.cfg.HandshakeTimeout)); g.headerErr != nil {
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
				g.setClient(g.server, client)
				if refused := g.server.throttleHandshake(client); refused != nil {
					g.server.refused(refused, "handshake", newPeer(client.String(), "", ""))
					g.headerErr = net.ErrClosed
					return
				}
			}
			g.early = said[end:]
			err = g.Conn.SetReadDeadline(time.Time{})
		}
		if err != nil || end > 0 {
			g.headerErr = err
			return
		}
	}
}

func (s *Server) newHTTPConn(socket net.Conn, early []byte, from netip.Addr) *httpConn {
	g := &httpConn{
		Conn: socket, early: early, server: s,
		onProved: func() { s.unauthenticated.Leave(from) },
		idle:     s.cfg.UnauthenticatedIdle,
		trusted:  s.proxies.Trust(from.String()),
	}
	if g.requestTurn.queue = s.turnQueue; s.cfg.TLS != nil {
		g.handshakeTurn.queue = s.turnQueue
	}
	return g
}

// prove notes that the client has authenticated. From now on net/http decides how long
// to wait for the next request.
func (g *httpConn) prove() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.proved {
		return
	}
	g.proved = true
	g.onProved()
	if !g.trusted {
		_ = g.Conn.SetReadDeadline(g.deadline) // an error means that it has gone, which a read says
	}
}

// SetReadDeadline implements net.Conn. It shortens the wait until the client has
// authenticated.
func (g *httpConn) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deadline = t
	if !g.proved && !g.trusted {
		if soon := time.Now().Add(g.idle); t.IsZero() || t.After(soon) {
			t = soon
		}
	}
	return g.Conn.SetReadDeadline(t)
}

// handedOn notes that the socket is closed or a connection of a loop.
func (g *httpConn) handedOn() {
	g.requestTurn.finish()
	g.closed.Do(g.onClose)
	g.prove()
}

// Read implements net.Conn. During a TLS handshake it returns when what it has read may be
// worked on.
func (g *httpConn) Read(p []byte) (int, error) {
	g.handshakeTurn.end()
	n, err := g.read(p)
	if n == 0 {
		return 0, err
	}
	if refused := g.beginHandshakeTurn(); refused != nil {
		return 0, refused
	}
	return n, err
}

// Write implements net.Conn.
func (g *httpConn) Write(p []byte) (int, error) {
	g.handshakeTurn.end()
	g.requestTurn.end()
	return g.Conn.Write(p)
}

func (g *httpConn) read(p []byte) (int, error) {
	if g.proxied {
		if g.headerRead.Do(g.readProxyHeader); g.headerErr != nil {
			return 0, g.headerErr
		}
	}
	if len(g.early) > 0 {
		return cut(&g.early, copy(p, g.early)), nil
	}
	return g.Conn.Read(p)
}

// CloseWrite lets net/http end a connection so that its last answer is read.
func (g *httpConn) CloseWrite() error {
	if tcp, ok := poll.TCP(g.Conn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (g *httpConn) Close() error {
	g.firstRequest.Do(g.onFirstRequest)
	g.handshakeTurn.finish()
	g.handedOn()
	return g.Conn.Close()
}

// httpConnOf returns the httpConn that a client's socket is or is laid upon.
func httpConnOf(socket net.Conn) (*httpConn, bool) {
	for {
		if g, ok := socket.(*httpConn); ok {
			return g, true
		}
		laid, ok := socket.(interface{ NetConn() net.Conn })
		if !ok {
			return nil, false
		}
		socket = laid.NetConn()
	}
}

// NetConn returns the connection below.
func (g *httpConn) NetConn() net.Conn { return g.Conn }

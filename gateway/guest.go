package gateway

import (
	"crypto/tls"
	"net"
	"sync"
)

// guest is a client that net/http serves. What was read of its first request
// before it came there is read first.
type guest struct {
	net.Conn
	early   []byte
	arrived sync.Once
	arrive  func() // called once, when its first request is read, or it is closed
	left    sync.Once
	leave   func() // called once, when it is closed or a connection
}

func (g *guest) Read(p []byte) (int, error) {
	if len(g.early) == 0 {
		return g.Conn.Read(p)
	}
	n := cut(&g.early, copy(p, g.early))
	return n, nil
}

// CloseWrite lets net/http end a connection so that its last answer is read.
func (g *guest) CloseWrite() error {
	if tcp, ok := tcpOf(g.Conn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

func (g *guest) Close() error {
	g.arrived.Do(g.arrive)
	g.left.Do(g.leave)
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

// tcpOf returns the TCP connection that a client's socket is or is laid upon.
func tcpOf(socket net.Conn) (tcp *net.TCPConn, ok bool) {
	switch s := socket.(type) {
	case *net.TCPConn:
		return s, true
	case *guest:
		return tcpOf(s.Conn)
	case *tls.Conn:
		return tcpOf(s.NetConn())
	}
	return nil, false
}

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

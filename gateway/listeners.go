package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// acceptPause is the pause of accepting clients when there are too many.
const acceptPause = 100 * time.Millisecond

// limitListener accepts the clients of net/http: those that encrypt, and all where the
// poller accepts none. It has the bounds of an acceptor.
type limitListener struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (h *limitListener) Accept() (net.Conn, error) {
	s := h.server
	for {
		for reason := s.acceptBlocked(); reason != ""; reason = s.acceptBlocked() {
			s.metrics.acceptPauses.WithLabelValues(reason).Inc()
			select {
			case <-time.After(acceptPause):
			case <-s.ctx.Done():
				return nil, net.ErrClosed
			}
		}
		socket, err := h.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g, refused := h.admit(socket)
		if refused == nil {
			return g, nil
		}
		s.refused(refused, "handshake", newPeer(clientaddr.Of(socket).String(), "", ""))
		if s.cfg.TLS == nil {
			// A new socket has room for it.
			_, _ = socket.Write(tooManyHandshakes)
		}
		_ = socket.Close()
	}
}

// admit counts a client in, unless its address has too many unfinished handshakes.
func (h *limitListener) admit(socket net.Conn) (*httpConn, *refusal.Error) {
	s := h.server
	from := clientaddr.Of(socket)
	if refused := s.throttleHandshake(from); refused != nil {
		return nil, refused
	}
	if refused := s.countSocket(from); refused != nil {
		return nil, refused
	}
	s.pendingConns.Add(1)
	if tcp, ok := poll.TCP(socket); ok {
		// Without a bound an answer that is not read hides megabytes in the kernel. An
		// error means that the client has gone, which shows.
		_ = tcp.SetWriteBuffer(s.cfg.SendBufferBytes)
	}
	g := s.newHTTPConn(socket, nil, from)
	g.proxied = s.proxies.Announce(from)
	g.onFirstRequest, g.onClose = func() { s.handshakes.Leave(from) }, func() { s.pendingConns.Add(-1) }
	return g, nil
}

// strict has requests of a listener's connections judged alike, whether they are the first
// or come encrypted.
func (s *Server) strict(l net.Listener) net.Listener {
	peerOf := func(socket net.Conn) peer { return newPeer(clientaddr.HostOf(socket.RemoteAddr().String()), "", "") }
	return &httpio.StrictListener{
		Listener: l,
		// A head that is too large is told so by handler or net/http.
		MaxHead: 4 * s.cfg.MaxHandshakeBytes, HandshakeTimeout: s.cfg.HandshakeTimeout,
		Malformed: func(socket net.Conn, err *websocket.HandshakeError) {
			s.metrics.handshakeRefused(err.Status)
			s.refused(handshakeRefusal(err), "handshake", peerOf(socket))
		},
		Failed: func(socket net.Conn, err error) {
			s.cfg.Logger.Debug("TLS handshake", "address", socket.RemoteAddr(), "err", err)
		},
	}
}

// httpConnKey is the key of the httpConn in the context of a request.
type httpConnKey struct{}

// withHTTPConn gives the requests of a connection its httpConn.
func withHTTPConn(ctx context.Context, socket net.Conn) context.Context {
	if g, ok := httpConnOf(socket); ok {
		return context.WithValue(ctx, httpConnKey{}, g)
	}
	return ctx
}

// handshakeDone notes that the first request of a client has come.
func handshakeDone(r *http.Request) {
	if g, ok := r.Context().Value(httpConnKey{}).(*httpConn); ok {
		g.firstRequest.Do(g.onFirstRequest)
		g.handshakeTurn.finish()
	}
}

// handoffListener gives net/http the connections that an acceptor has accepted.
type handoffListener struct {
	addr  net.Addr
	queue chan net.Conn
	done  chan struct{}

	mu     sync.Mutex
	closed bool
}

// handoffQueue bounds how many connections may wait for net/http, which only starts a
// goroutine for each.
const handoffQueue = 1024

func newHandoffListener(addr net.Addr) *handoffListener {
	return &handoffListener{addr: addr, queue: make(chan net.Conn, handoffQueue), done: make(chan struct{})}
}

// hand gives net/http a connection. It reports false, and leaves the connection to the
// caller, when too many wait or the listener is closed.
func (l *handoffListener) hand(g *httpConn) bool {
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
func (l *handoffListener) Accept() (net.Conn, error) {
	select {
	case socket := <-l.queue:
		return socket, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It closes the connections that wait.
func (l *handoffListener) Close() error {
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
func (l *handoffListener) Addr() net.Addr { return l.addr }

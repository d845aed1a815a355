package gateway

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// acceptPause is how long accepting clients pauses when there are too many.
const acceptPause = 100 * time.Millisecond

// limitListener is the listener of clients that net/http accepts: those that encrypt, and
// all where no poller has a door. It bounds newcomers as a door does.
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

// hand counts a client in, unless its address has too many newcomers.
func (h *limitListener) admit(socket net.Conn) (*httpConn, *refusal.Error) {
	s := h.server
	from := clientaddr.Of(socket)
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
	g.server, g.proxied = s, s.proxies.Announce(from)
	g.onFirstRequest, g.onClose = func() { s.handshakes.leave(from) }, func() { s.pendingConns.Add(-1) }
	return g, nil
}

func addressOf(socket net.Conn) netip.Addr {
	if tcp, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// httpConnKey is under which a request's context has its guest.
type httpConnKey struct{}

// withHTTPConn gives the requests of a connection its guest.
func withHTTPConn(ctx context.Context, socket net.Conn) context.Context {
	if g, ok := httpConnOf(socket); ok {
		return context.WithValue(ctx, httpConnKey{}, g)
	}
	return ctx
}

// firstRequest says that a request's client is no newcomer any more.
func handshakeDone(r *http.Request) {
	if g, ok := r.Context().Value(httpConnKey{}).(*httpConn); ok {
		g.firstRequest.Do(g.onFirstRequest)
	}
}

// handoff is the net.Listener through which net/http gets its guests.
type handoffListener struct {
	addr  net.Addr
	queue chan net.Conn
	done  chan struct{}

	mu     sync.Mutex
	closed bool
}

// handoffQueue is how many guests may wait for net/http, which does nothing with
// one but start a goroutine.
const handoffQueue = 1024

func newHandoffListener(addr net.Addr) *handoffListener {
	return &handoffListener{addr: addr, queue: make(chan net.Conn, handoffQueue), done: make(chan struct{})}
}

// hand hands a guest over. It reports false, and leaves the guest to the
// caller, when too many wait or the lobby is closed.
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

// Close implements net.Listener. Guests that wait are closed.
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

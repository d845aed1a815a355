package gateway

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// acceptPause is how long accepting clients pauses when there are too many.
const acceptPause = 100 * time.Millisecond

// hall is the listener of clients that net/http accepts: those that encrypt, and
// all where no poller has a door. It bounds newcomers as a door does.
type hall struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (h *hall) Accept() (net.Conn, error) {
	s := h.server
	for {
		for reason := s.crowded(); reason != ""; reason = s.crowded() {
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
			_, _ = socket.Write(tooManyNewcomers)
		}
		_ = socket.Close()
	}
}

// admit counts a client in, unless its address has too many newcomers.
func (h *hall) admit(socket net.Conn) (*guest, *refusal.Error) {
	s := h.server
	from := clientaddr.Of(socket)
	if refused := s.newcomer(from); refused != nil {
		return nil, refused
	}
	s.strangers.Add(1)
	if tcp, ok := poll.TCP(socket); ok {
		// Without a bound an answer that is not read hides megabytes in the kernel. An
		// error means that the client has gone, which shows.
		_ = tcp.SetWriteBuffer(s.cfg.SendBufferBytes)
	}
	g := s.newGuest(socket, nil, from)
	g.server, g.proxied = s, s.proxies.Announce(from)
	g.arrive, g.leave = func() { s.newcomers.leave(from) }, func() { s.strangers.Add(-1) }
	return g, nil
}

func addressOf(socket net.Conn) netip.Addr {
	if tcp, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// guestKey is under which a request's context has its guest.
type guestKey struct{}

// introduce gives the requests of a connection its guest.
func introduce(ctx context.Context, socket net.Conn) context.Context {
	if g, ok := guestOf(socket); ok {
		return context.WithValue(ctx, guestKey{}, g)
	}
	return ctx
}

// arrived says that a request's client is no newcomer any more.
func arrived(r *http.Request) {
	if g, ok := r.Context().Value(guestKey{}).(*guest); ok {
		g.arrived.Do(g.arrive)
	}
}

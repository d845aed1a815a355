package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// maxAdminSockets is how many sockets the operators' own port has.
const maxAdminSockets = 256

// adminListener is the operators' own port: what strangers do to the clients' port
// leaves it alone. It has its own places, of which the oldest do not make room:
// who may reach it is the operator's to say.
type adminListener struct {
	net.Listener
	open atomic.Int64
}

// Accept implements net.Listener.
func (l *adminListener) Accept() (net.Conn, error) {
	for {
		socket, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxAdminSockets {
			return socket, nil
		}
		l.open.Add(-1)
		_ = socket.Close()
	}
}

// serveAdmin serves the operators' port, if there is one.
func (s *Server) serveAdmin() {
	if s.cfg.AdminListener == nil {
		return
	}
	l := &adminListener{Listener: s.cfg.AdminListener}
	s.adminHTTP = s.newHTTPServer(s.handler(s.routes()))
	s.adminHTTP.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			l.open.Add(-1)
		}
	}
	var listener net.Listener = l
	if s.cfg.TLS != nil {
		listener = tls.NewListener(l, s.cfg.TLS)
	}
	s.running.Go(func() {
		if err := s.adminHTTP.Serve(listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.cfg.Fatal(fmt.Errorf("serve operators: %w", err))
		}
	})
}

// clientRoutes are the routes of the clients' port: without the operators', if
// those have their own.
func (s *Server) clientRoutes() *router {
	rt := s.routes()
	if s.cfg.AdminListener == nil {
		return rt
	}
	for _, path := range []string{"/metrics", "/console", "/console/session"} {
		delete(rt.exact, path)
	}
	for _, path := range []string{adminPrefix + "/", "/console/"} {
		delete(rt.below, path)
	}
	root := rt.exact["/"]
	rt.exact["/"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !websocket.WantsUpgrade(r) && !websocket.LostUpgrade(r) {
			rt.others.ServeHTTP(w, r) // there is no console to go to
			return
		}
		root.ServeHTTP(w, r)
	})
	return rt
}

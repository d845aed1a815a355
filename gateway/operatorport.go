package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// serveOperators serves the operators' port, if there is one.
func (s *Server) serveOperators() {
	if s.cfg.AdminListener == nil {
		return
	}
	l := admin.NewListener(s.cfg.AdminListener)
	s.adminHTTP = s.newHTTPServer(s.handler(s.routes()))
	s.adminHTTP.ConnState = l.ConnState
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

// clientRoutes returns the routes of the clients' port. Those of operators are not among them
// where operators have a port of their own.
func (s *Server) clientRoutes() *router {
	rt := s.routes()
	if s.cfg.AdminListener == nil {
		return rt
	}
	for _, path := range []string{"/metrics", "/console", "/console/session"} {
		delete(rt.exact, path)
	}
	for _, path := range []string{admin.Prefix + "/", "/console/"} {
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

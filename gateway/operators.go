package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// newAdmin returns the admin API of the server.
func (s *Server) newAdmin() *admin.Handler {
	return admin.NewHandler(admin.Config{
		Broker: s.cfg.Broker, Proxies: &s.proxies, TLS: s.cfg.TLS != nil, Logger: s.cfg.Logger,
		Refused:   func(r *http.Request, refused *refusal.Error) { s.refused(refused, "admin", s.requestPeer(r)) },
		RefusalOf: s.refusalOf,
		Proven:    func(r *http.Request) { proven(r, auth.Admin) },
		Stale: func() *refusal.Error {
			switch {
			case !s.open.Load():
				return s.refuseStarting()
			case s.staleness() > RefuseAfter:
				return s.refuseStale()
			}
			return nil
		},
		Publish: s.publishAsOperator,
		Members: s.listMembers,
		ReadHistory: func(
			ctx context.Context, who auth.Principal, address string, channel fsm.ChannelKey, query url.Values,
		) (admin.Answer, error) {
			page, err := s.beginReading(ctx, who, address, channel, query)
			if err != nil {
				return nil, err
			}
			return page, nil
		},
	})
}

// publishAsOperator publishes a message as a server key of the channel's project would.
func (s *Server) publishAsOperator(
	ctx context.Context, from fsm.Sender, channel fsm.ChannelKey, message, id []byte,
) (any, *refusal.Error) {
	text, refused := protocol.ParseID(id)
	switch {
	case refused != nil:
		return nil, refused
	case message == nil:
		return nil, refusal.New(refusal.InvalidMessage, "message is missing")
	case len(message) > s.cfg.MaxMessageBytes:
		return nil, refusal.New(refusal.MessageTooLarge, "message is too large")
	}
	p := &restPublish{publish: fsm.Publish{Channel: channel, ID: text, Data: message, From: from}}
	p.send(s)
	answer := p.result(ctx, s)
	return answer, p.refusal
}

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
		if err := s.adminHTTP.Serve(s.strict(listener)); !errors.Is(err, http.ErrServerClosed) &&
			!errors.Is(err, net.ErrClosed) {
			s.cfg.Fatal(fmt.Errorf("serve operators: %w", err))
		}
	})
}

// clientRoutes returns the routes of the clients' port. Those of operators are not among them
// where operators have a port of their own.
func (s *Server) clientRoutes() *httpio.Router {
	rt := s.routes()
	if s.cfg.AdminListener == nil {
		return rt
	}
	for _, path := range []string{"/metrics", "/console", "/console/session"} {
		delete(rt.Exact, path)
	}
	for _, path := range []string{admin.Prefix + "/", "/console/"} {
		delete(rt.Below, path)
	}
	root := rt.Exact["/"]
	rt.Exact["/"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !websocket.WantsUpgrade(r) && !websocket.LostUpgrade(r) {
			rt.Others.ServeHTTP(w, r) // there is no console to go to
			return
		}
		root.ServeHTTP(w, r)
	})
	return rt
}

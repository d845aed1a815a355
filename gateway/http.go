package gateway

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/aptlyd/aptlyd/docs"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/sse"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

func (s *Server) newHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ConnContext:       withHTTPConn,
		ReadHeaderTimeout: s.cfg.HandshakeTimeout,
		WriteTimeout:      httpio.WriteTimeout,
		IdleTimeout:       s.cfg.KeepAliveTimeout,
		// A head that is too large by less is told so by handler, and counted.
		MaxHeaderBytes: 2 * s.cfg.MaxHandshakeBytes,
		ErrorLog:       slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// routes returns the handlers of HTTP while the node serves clients.
func (s *Server) routes() *httpio.Router {
	rt := &httpio.Router{
		Exact: map[string]http.Handler{
			"/":                 http.HandlerFunc(s.root),
			"/realtime":         http.HandlerFunc(s.realtime),
			"/realtime/batch":   s.withCORS(s.only(http.MethodPost, s.publishBatch)),
			"/realtime/history": s.withCORS(s.only(http.MethodGet, s.history)),
			sse.EventsPath:      s.withCORS(s.serveStream),
			sse.PollPath:        s.withCORS(s.serveStream),
			"/console/session": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				endRequestTurn(r.Context()) // it waits for the cluster
				s.admin.ServeSession(w, r)
			}),
			"/openapi.yaml":      s.only(http.MethodGet, document("application/yaml", func() []byte { return docs.OpenAPI })),
			"/openapi.json":      s.only(http.MethodGet, document("application/json", docs.OpenAPIJSON)),
			"/realtime/presence": s.withCORS(s.only(http.MethodGet, s.presenceOf)),
			"/realtime/channels": s.withCORS(s.only(http.MethodGet, s.occupied)),
		},
		Below: map[string]http.Handler{admin.Prefix + "/": s.admin},
		Others: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.refuseHTTP(w, r, refusal.New(refusal.NotFound, "no such path"))
		}),
	}
	if s.cfg.Registry != nil {
		rt.Exact["/metrics"] = promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{})
	}
	if s.cfg.Console != nil {
		rt.Exact["/console"] = http.HandlerFunc(toConsole)
		rt.Below["/console/"] = s.cfg.Console
	}
	return rt
}

// document serves a text that is part of the program.
func document(contentType string, text func() []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(text())
	}
}

// handler answers everything that comes over a listener: health itself, the rest with
// open once the node serves clients.
func (s *Server) handler(open *httpio.Router) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handshakeDone(r)
		head := w.Header()
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Cache-Control", "no-store") // the console sets its own
		if websocket.NamesWebSocket(strings.Join(r.Header.Values("Upgrade"), ",")) {
			head.Set("Connection", "close") // what follows was not checked as a request
		}
		refused := s.beginRequestTurn(r)
		if !s.requests.TryRLock() {
			s.refuseHTTP(w, r, &refusal.Error{Code: refusal.Unavailable, Reason: "node is stopping", RetryAfter: time.Second})
			return
		}
		defer s.requests.RUnlock()
		httpio.PaceBody(w, r, s.cfg.BodyTimeout)
		switch path := r.URL.EscapedPath(); {
		case refused != nil:
			head.Set("Connection", "close")
			s.refuseHTTP(w, r, refused)
		case headBytes(r) > s.cfg.MaxHandshakeBytes:
			s.refuseHandshake(w, r, websocket.HeadTooLarge(s.cfg.MaxHandshakeBytes))
		case path == "/healthz":
			_, _ = io.WriteString(w, "ok\n")
		case path == "/readyz":
			s.ready(w, r)
		case !s.proxies.AnswersFor(r) && !asksForWebSocket(r):
			s.refuseHTTP(w, r, refuseHost(r))
		case !s.open.Load() && !s.forOperators(path) && (!websocket.WantsUpgrade(r) || !s.awaitOpen(r.Context())):
			s.refuseHTTP(w, r, s.refuseStarting())
		default:
			open.ServeHTTP(w, r)
		}
	})
}

// forOperators reports whether a path is answered while the node waits for its cluster.
func (s *Server) forOperators(path string) bool {
	return s.operable.Load() && (path == "/metrics" || strings.HasPrefix(path, "/console") ||
		strings.HasPrefix(path, admin.Prefix+"/"))
}

// headBytes returns about how many bytes the head of a request has.
func headBytes(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Host) + len("  HTTP/1.1\r\nHost: \r\n\r\n")
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(": \r\n") + len(value)
		}
	}
	return n
}

// unfit returns why no clients should be sent here; nil when they should.
func (s *Server) unfit() *refusal.Error {
	var refused *refusal.Error
	switch {
	case s.unready.Load():
		refused = refuseDraining()
	case s.open.Load():
		refused = s.available()
	default:
		refused = s.refuseStarting()
	}
	if stalled := s.cfg.Broker.Stalled(); refused == nil && stalled != "" {
		refused = refusal.New(refusal.Unavailable, "node is stalled: "+stalled)
	}
	if late := s.lag(); refused == nil && late > unhealthyAfter {
		refused = refusal.New(refusal.Unavailable, "an event loop is late by "+late.Round(time.Second).String())
	}
	return refused
}

// ready tells a load balancer whether to send clients here.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if refused := s.unfit(); refused != nil {
		if _, lasting := s.cfg.Broker.Obstacle(); !lasting {
			w.Header().Set("Retry-After", "1") // it passes by itself
		}
		http.Error(w, refused.Reason, http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}

// root serves the WebSocket endpoint, and leads people to the console.
func (s *Server) root(w http.ResponseWriter, r *http.Request) {
	switch {
	case websocket.WantsUpgrade(r):
		s.upgrade(w, r)
	case websocket.LostUpgrade(r):
		s.refuseHandshake(w, r, websocket.ErrLostUpgrade)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		toConsole(w, r)
	default:
		s.refuseMethod(w, r, "GET, HEAD")
	}
}

// toConsole leads a browser to the console. The location is relative, so that it also
// works below a path of a proxy.
func toConsole(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "console/")
	w.WriteHeader(http.StatusFound)
}

// realtime serves the WebSocket endpoint, and publishes over HTTP.
func (s *Server) realtime(w http.ResponseWriter, r *http.Request) {
	switch {
	case websocket.WantsUpgrade(r):
		s.upgrade(w, r)
	case websocket.LostUpgrade(r):
		s.refuseHandshake(w, r, websocket.ErrLostUpgrade)
	default:
		s.withCORS(s.only(http.MethodPost, s.publishOne))(w, r)
	}
}

// only lets one method pass. GET includes HEAD.
func (s *Server) only(method string, next http.HandlerFunc) http.HandlerFunc {
	allow := method + ", OPTIONS"
	if method == http.MethodGet {
		allow = "GET, HEAD, OPTIONS"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if httpio.RoutedMethod(r) != method {
			s.refuseMethod(w, r, allow)
			return
		}
		next(w, r)
	}
}

// refuseHTTP answers with a refusal in the shape that published clients read.
func (s *Server) refuseHTTP(w http.ResponseWriter, r *http.Request, refused *refusal.Error) {
	s.refuseVia("rest", w, r, refused)
}

func (s *Server) refuseVia(via string, w http.ResponseWriter, r *http.Request, refused *refusal.Error) {
	s.refused(refused, via, s.requestPeer(r))
	if refuseEvents(w, r, refused) {
		return
	}
	httpio.WriteRefusal(w, refused, refusalJSON{Error: refused.Reason, Code: refused.Code})
}

// refusalBody returns the JSON text of a refusal.
func refusalBody(r *refusal.Error) []byte {
	body, _ := json.Marshal(refusalJSON{Error: r.Reason, Code: r.Code}) // of strings, which cannot fail
	return append(body, '\n')
}

// refusalJSON is a refusal in the shape that published clients read.
type refusalJSON struct {
	Success bool         `json:"success"`
	Error   string       `json:"error"`
	Code    refusal.Code `json:"code"`
}

// refuseMethod answers 405: the path is there, the method is not.
func (s *Server) refuseMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	s.refuseHTTP(w, r, refusal.MethodNotAllowed())
}

// refuseHost refuses a request for a host that is none of the node's: maybe a page has
// given its own name the node's address (DNS rebinding).
func refuseHost(r *http.Request) *refusal.Error {
	return &refusal.Error{
		Code: refusal.Forbidden, Status: http.StatusMisdirectedRequest,
		Reason: "host " + refusal.Clip(r.Host) + " is not one of this node's (--allowed-hosts)",
	}
}

// asksForWebSocket reports whether a request is one for a WebSocket at its endpoint. Such a
// client may ask for any host: it must show a credential of its own, and its Origin is not
// taken for the broker's.
func asksForWebSocket(r *http.Request) bool {
	path := strings.Trim(r.URL.EscapedPath(), "/")
	return websocket.WantsUpgrade(r) && (path == "" || path == "realtime")
}

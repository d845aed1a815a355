package admin

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// Broker is the node as the admin API needs it.
type Broker interface {
	auth.Keys
	NodeName() string
	// AdminToken returns the live admin token, or console session, with this text.
	AdminToken(text string) (fsm.AdminToken, bool)
	// Alive returns why a sender may not act any more: its key, token or session has
	// ended.
	Alive(from fsm.Sender) error
	// ReadYourWrites returns once this node has applied every publish that it has
	// acknowledged.
	ReadYourWrites(ctx context.Context) error
	Operator
}

// Config has everything that a Handler needs of its server. All fields are required.
type Config struct {
	Broker  Broker
	Proxies *clientaddr.Proxies
	TLS     bool // clients are met with TLS
	Logger  *slog.Logger

	// Refused counts a refusal before it is answered.
	Refused func(r *http.Request, refused *refusal.Error)
	// RefusalOf turns an error into the refusal that a client may see.
	RefusalOf func(err error, doing string) *refusal.Error
	// Proven notes that the client of a request has authenticated.
	Proven func(r *http.Request)
	// Stale returns a refusal while the node cannot know which admin tokens are good.
	Stale func() *refusal.Error
	// Publish publishes a message, given as raw JSON, and returns what is answered.
	Publish func(
		ctx context.Context, from fsm.Sender, channel fsm.ChannelKey, message, id []byte,
	) (answer any, refused *refusal.Error)
	// Members returns a page of the members of a channel: those with ids after cursor.
	Members func(channel fsm.ChannelKey, cursor string, limit int) any
	// ReadHistory begins to read retained messages, as a query asks for them.
	ReadHistory func(
		ctx context.Context, who auth.Principal, address string, channel fsm.ChannelKey, query url.Values,
	) (Answer, error)
}

// Answer is an answer that sends itself.
type Answer interface {
	Send(w http.ResponseWriter, r *http.Request)
}

// Prefix is the beginning of all paths of the admin API.
const Prefix = "/admin/v1"

// Handler serves the admin API below Prefix, and console sessions.
type Handler struct {
	cfg   Config
	paths map[string]map[string]Route // by path, then by method

	guesses          *ratelimit.Limiter // wrong admin tokens, by address
	wrongAdminTokens *auth.RecentHashes // that were counted as guesses
	signIns          *ratelimit.Limiter // at the console, by admin token
}

// NewHandler returns a handler.
func NewHandler(cfg Config) *Handler {
	h := &Handler{
		cfg:              cfg,
		paths:            make(map[string]map[string]Route),
		guesses:          ratelimit.NewLimiter(),
		wrongAdminTokens: auth.NewRecentHashes(maxWrongAdminTokens),
		signIns:          ratelimit.NewLimiter(),
	}
	for _, route := range h.Routes() {
		if h.paths[route.Path] == nil {
			h.paths[route.Path] = make(map[string]Route)
		}
		h.paths[route.Path][route.Method] = route
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), Prefix)
	for pattern, methods := range h.paths {
		if id, ok := matchPath(pattern, path); ok {
			r.SetPathValue("id", id)
			h.serve(w, r, methods)
			return
		}
	}
	h.serve(w, r, nil)
}

// refuse answers a call with a refusal.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, refused *refusal.Error) {
	h.cfg.Refused(r, refused)
	httpio.WriteRefusal(w, refused, struct {
		Error string       `json:"error"`
		Code  refusal.Code `json:"code"`
	}{refused.Reason, refused.Code})
}

// maxBody bounds the body of a call.
const maxBody = 1 << 20

// body reads the body of a call; an empty one has no fields. The operator is checked again,
// because a body may come long after the head.
func (h *Handler) body(r *http.Request, shape *strictjson.Shape, values [][]byte) error {
	if r.ContentLength == 0 {
		return nil
	}
	body, refused := httpio.ReadBody(nil, r, maxBody)
	if refused != nil {
		return refused
	}
	if op, ok := r.Context().Value(operatorKey{}).(operator); ok {
		by := op.actor()
		if err := h.cfg.Broker.Alive(by.Sender()); err != nil {
			return err
		}
	}
	if err := shape.Scan(body, strictjson.MaxNesting, values); err != nil {
		return refusal.New(refusal.InvalidMessage, err.Error())
	}
	return nil
}

package gateway

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// adminCall answers one call of the admin API: a status and what to encode, or to
// send when it is a *download, nil for nothing.
type adminCall func(r *http.Request) (status int, answer any, err error)

// adminRoute is one call of the admin API.
type adminRoute struct {
	method, path string
	needs        fsm.Role // the least role that may make it
	call         adminCall
	query        string // names that its query may have, with spaces between
}

// checkQuery refuses a name that the route does not know. A filter that is misspelt
// would not filter.
func (route *adminRoute) checkQuery(r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refusal.New(refusal.InvalidMessage, "malformed query")
	}
	known := strings.Fields(route.query)
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return refusal.New(refusal.InvalidMessage, "unknown name "+refusal.Clip(name)+" in the query")
		case len(values) > 1:
			return refusal.New(refusal.InvalidMessage, name+" occurs twice in the query")
		}
	}
	return nil
}

// statusPath is what a node also answers that has lost its cluster: on every other
// path it cannot know whether the admin token is still good.
const statusPath = "/status"

// adminRoutes is the whole admin API. Paths hold ids that a node made, and nothing
// that people or clients name: that is in the query or the body.
func (s *Server) adminRoutes() []adminRoute {
	const (
		viewer   = fsm.Viewer
		operator = fsm.Operator
		owner    = fsm.Owner
	)
	return []adminRoute{
		{"GET", "/whoami", viewer, s.whoAmI, ""},
		{"GET", "/tokens", owner, s.listAdminTokens, "cursor limit"},
		{"POST", "/tokens", owner, s.createAdminToken, ""},
		{"DELETE", "/tokens/{id}", owner, s.revokeAdminToken, ""},
		{"GET", "/audit", viewer, s.listAudit, "cursor limit"},

		{"GET", "/projects", viewer, s.listProjects, "cursor limit"},
		{"POST", "/projects", operator, s.createProject, ""},
		{"GET", "/projects/{id}", viewer, s.getProject, ""},
		{"PATCH", "/projects/{id}", operator, s.updateProject, ""},
		{"DELETE", "/projects/{id}", operator, s.deleteProject, ""},

		{"POST", "/projects/{id}/keys", operator, s.createKey, ""},
		{"DELETE", "/keys/{id}", operator, s.revokeKey, ""},
		{"POST", "/keys/{id}/rotate", operator, s.rotateKey, ""},
		{"GET", "/keys/{id}/connections", viewer, s.keyConnections, "cursor limit"},
		{"POST", "/origins/check", viewer, s.checkOrigin, ""},
		{"POST", "/projects/{id}/console-token", viewer, s.createConsoleToken, ""},

		{"GET", "/projects/{id}/channels", viewer, s.listChannels, "cursor limit prefix active"},
		{"GET", "/projects/{id}/messages", viewer, s.channelMessages, "channel after limit"},
		{"POST", "/projects/{id}/messages", operator, s.publishAsOperator, "channel"},
		{"DELETE", "/projects/{id}/messages", operator, s.purgeChannel, "channel forget"},
		{"DELETE", "/projects/{id}/channels", operator, s.forgetChannels, "prefix"},

		{"GET", "/refusals", viewer, s.listRefusals, "cursor limit project key code"},
		{"GET", "/connections", viewer, s.listConnections, "cursor limit project key"},
		{"DELETE", "/connections/{id}", operator, s.disconnect, ""},

		{"GET", "/settings", viewer, s.getSettings, ""},
		{"PATCH", "/settings", owner, s.updateSettings, ""},
		{"GET", "/metrics/history", viewer, s.metricsHistory, "minutes"},
		{"GET", statusPath, viewer, s.clusterStatus, ""},
		{"GET", "/diagnosis", operator, s.diagnosis, ""},
		{"GET", "/backup", owner, s.backup, ""},
		{"DELETE", "/members", owner, s.removeMember, "name"},
	}
}

const adminPrefix = "/admin/v1"

// adminHandler serves the paths below adminPrefix.
func (s *Server) adminHandler() http.Handler {
	paths := make(map[string]map[string]adminRoute)
	for _, route := range s.adminRoutes() {
		if paths[route.path] == nil {
			paths[route.path] = make(map[string]adminRoute)
		}
		paths[route.path][route.method] = route
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.EscapedPath(), adminPrefix)
		for pattern, methods := range paths {
			if id, ok := matchPath(pattern, path); ok {
				r.SetPathValue("id", id)
				s.callAdmin(w, r, methods)
				return
			}
		}
		s.callAdmin(w, r, nil)
	})
}

// callAdmin authenticates the operator, then answers with the route for the
// request's method if the operator's role allows it; with no routes at all there is
// no such path.
func (s *Server) callAdmin(w http.ResponseWriter, r *http.Request, methods map[string]adminRoute) {
	op, refused := s.authenticateOperator(r)
	if refused != nil {
		s.refuseAdmin(w, r, refused)
		return
	}
	proven(r)
	route, found := methods[routedMethod(r)]
	who := op.principal()
	switch {
	case methods == nil:
		s.refuseAdmin(w, r, refusal.New(refusal.NotFound, "no such path").Of(who.Attempt(auth.NoAction, "")))
		return
	case !found:
		allowed := slices.Collect(maps.Keys(methods))
		if slices.Contains(allowed, http.MethodGet) {
			allowed = append(allowed, http.MethodHead)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.refuseAdmin(w, r, refusal.MethodNotAllowed())
		return
	}
	if route.path != statusPath && s.staleness() > RefuseAfter {
		s.refuseAdmin(w, r, refuseStale().Of(who.Attempt(auth.NoAction, "")))
		return
	}
	do := auth.ActionOf[route.needs]
	if refused := auth.Authorise(who, do, nil, ""); refused != nil {
		s.refuseAdmin(w, r, refused)
		return
	}
	if err := route.checkQuery(r); err != nil {
		s.refuseAdmin(w, r, s.refusalOf(err, r.Method+" "+r.URL.Path).Of(who.Attempt(do, "")))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
	status, answer, err := route.call(r.WithContext(context.WithValue(r.Context(), operatorKey{}, op)))
	file, isFile := answer.(*download)
	page, isPage := answer.(*reading)
	switch {
	case err != nil:
		s.refuseAdmin(w, r, s.refusalOf(err, r.Method+" "+r.URL.Path).Of(who.Attempt(do, "")))
	case answer == nil:
		w.WriteHeader(status)
	case isFile:
		s.send(w, status, file)
	case isPage:
		page.send(w, r)
	default:
		httpio.WriteJSON(w, status, answer)
	}
}

// operator is who makes a call of the admin API.
type operator struct {
	token   fsm.AdminToken
	address string
	via     string
}

// actor is the operator as the author of a change.
func (op operator) actor() fsm.Actor {
	id := op.token.ID
	if op.token.Parent != "" {
		id = op.token.Parent
	}
	return fsm.Actor{ID: id, Name: op.token.Name, Address: op.address, Via: op.via, Token: op.token.ID}
}

// principal is the operator as who asks.
func (op operator) principal() auth.Principal {
	return auth.Principal{Kind: auth.Admin, KeyID: op.actor().ID, Role: op.token.Role}
}

type operatorKey struct{}

// operatorOf returns who makes a call that adminPath has let through.
func operatorOf(r *http.Request) operator { return r.Context().Value(operatorKey{}).(operator) }

// actorOf is operatorOf for the author of a change.
func actorOf(r *http.Request) fsm.Actor { return operatorOf(r).actor() }

// An address may send guessBurst wrong admin tokens at once and guessRate more each
// second.
const (
	guessBurst = 10
	guessRate  = 1
	// maxWrongAdminTokens bounds those that are remembered.
	maxWrongAdminTokens = 1 << 12
)

// cliAgent begins the User-Agent of the command line.
const cliAgent = "aptlyd-cli"

// authenticateOperator finds the operator whose token a request carries, or whose
// console session when it carries no token.
func (s *Server) authenticateOperator(r *http.Request) (operator, *refusal.Error) {
	if len(r.Header.Values("Authorization")) > 1 {
		return operator{}, refusal.New(refusal.InvalidMessage, "repeated header")
	}
	if r.Header.Get("Authorization") == "" {
		return s.sessionOperator(r)
	}
	text, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found || text == "" {
		return operator{}, refusal.New(refusal.AuthRequired, "an admin token is required")
	}
	op := operator{address: s.proxies.RequestClient(r), via: "api"}
	if strings.HasPrefix(r.UserAgent(), cliAgent) {
		op.via = "cli"
	}
	var refused *refusal.Error
	op.token, refused = s.adminToken(op.address, text)
	return op, refused
}

// adminToken returns the admin token with a text, which a console session is not:
// its text is of use in its cookie only. An address that guesses too often is not
// told whether its next guess is right. The same text again is no new guess: a script
// whose token was revoked must not lock out the operators behind its address.
func (s *Server) adminToken(address, text string) (fsm.AdminToken, *refusal.Error) {
	guesses, guesser, hash := ratelimit.PerSecond(guessRate, guessBurst), clientaddr.NetworkOf(address), fsm.HashKey(text)
	known := s.wrongAdminTokens.Has(hash)
	if wait := s.guesses.Wait(guesser, guesses); wait > 0 && !known {
		return fsm.AdminToken{}, &refusal.Error{
			Code: refusal.RateLimited, Reason: "too many wrong admin tokens from this address", RetryAfter: wait,
		}
	}
	if token, ok := s.cfg.Broker.AdminToken(text); ok && token.Parent == "" {
		return token, nil
	}
	if !known {
		s.guesses.Take(guesser, guesses)
		s.wrongAdminTokens.Add(hash)
	}
	return fsm.AdminToken{}, refusal.New(refusal.InvalidKey, "the admin token is not valid")
}

package admin

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// call answers one call of the admin API with a status and an answer: an Answer sends itself,
// everything else is encoded as JSON, and nil is nothing.
type call func(r *http.Request) (status int, answer any, err error)

// Route is one call of the admin API.
type Route struct {
	Method, Path string
	Needs        fsm.Role // the least role that may make it
	call         call
	Query        string // names that its query may have, with spaces between
}

// checkQuery refuses a name that the route does not know: a misspelt filter would not filter.
func (route *Route) checkQuery(r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refusal.New(refusal.InvalidMessage, "malformed query")
	}
	known := strings.Fields(route.Query)
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

// localPaths are also answered by a node without its cluster: they tell what this node knows
// of itself and of its way to the others. For every other path such a node cannot know whether
// the admin token is still good.
var localPaths = map[string]bool{"/status": true, "/diagnosis": true, "/whoami": true, "/metrics/history": true}

// Routes returns the whole admin API. Paths have ids that a node made. Names that people or
// clients choose are in the query or the body.
func (h *Handler) Routes() []Route {
	const (
		viewer   = fsm.Viewer
		operator = fsm.Operator
		owner    = fsm.Owner
	)
	return []Route{
		{"GET", "/whoami", viewer, h.whoAmI, ""},
		{"GET", "/tokens", owner, h.listAdminTokens, "cursor limit"},
		{"POST", "/tokens", owner, h.createAdminToken, ""},
		{"DELETE", "/tokens/{id}", owner, h.revokeAdminToken, ""},
		{"GET", "/audit", viewer, h.listAudit, "cursor limit"},

		{"GET", "/projects", viewer, h.listProjects, "cursor limit"},
		{"POST", "/projects", operator, h.createProject, ""},
		{"GET", "/projects/{id}", viewer, h.getProject, ""},
		{"PATCH", "/projects/{id}", operator, h.updateProject, ""},
		{"DELETE", "/projects/{id}", operator, h.deleteProject, ""},

		{"GET", "/projects/{id}/usage", viewer, h.projectUsage, "by"},
		{"GET", "/usage", viewer, h.listUsage, "cursor limit"},
		{"POST", "/projects/{id}/keys", operator, h.createKey, ""},
		{"DELETE", "/keys/{id}", operator, h.revokeKey, ""},
		{"POST", "/keys/{id}/rotate", operator, h.rotateKey, ""},
		{"POST", "/keys/{id}/token", operator, h.mintToken, ""},
		{"POST", "/client-tokens/check", viewer, h.checkToken, ""},
		{"GET", "/keys/{id}/connections", viewer, h.keyConnections, "cursor limit"},
		{"POST", "/origins/check", viewer, h.checkOrigin, ""},
		{"POST", "/projects/{id}/console-token", viewer, h.createConsoleToken, ""},

		{"GET", "/projects/{id}/channels", viewer, h.listChannels, "cursor limit prefix active"},
		{"GET", "/projects/{id}/messages", viewer, h.channelMessages, "channel after limit"},
		{"GET", "/projects/{id}/presence", viewer, h.listMembers, "channel cursor limit"},
		{"POST", "/projects/{id}/messages", operator, h.publishAsOperator, "channel"},
		{"DELETE", "/projects/{id}/messages", operator, h.purgeChannel, "channel forget"},
		{"DELETE", "/projects/{id}/channels", operator, h.forgetChannels, "prefix"},

		{"GET", "/refusals", viewer, h.listRefusals, "cursor limit project key code"},
		{"GET", "/refusals/rules", viewer, h.refusalRules, "project key"},
		{"GET", "/connections", viewer, h.listConnections, "cursor limit project key"},
		{"DELETE", "/connections/{id}", operator, h.disconnect, ""},

		{"GET", "/settings", viewer, h.getSettings, ""},
		{"PATCH", "/settings", owner, h.updateSettings, ""},
		{"GET", "/metrics/history", viewer, h.metricsHistory, "minutes"},
		{"GET", "/status", viewer, h.clusterStatus, ""},
		{"GET", "/diagnosis", operator, h.diagnosis, ""},
		{"GET", "/backup", owner, h.backup, ""},
		{"DELETE", "/members", owner, h.removeMember, "name"},
	}
}

// serve authenticates the operator, then answers with the route of the request's method if the
// operator's role allows it. Without methods there is no such path.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, methods map[string]Route) {
	op, refused := h.authenticate(r)
	if refused != nil {
		h.refuse(w, r, refused)
		return
	}
	h.cfg.Proven(r)
	route, found := methods[httpio.RoutedMethod(r)]
	who := op.principal()
	switch {
	case methods == nil:
		h.refuse(w, r, refusal.New(refusal.NotFound, "no such path").Of(who.Attempt(auth.NoAction, "")))
		return
	case !found:
		allowed := slices.Collect(maps.Keys(methods))
		if slices.Contains(allowed, http.MethodGet) {
			allowed = append(allowed, http.MethodHead)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		h.refuse(w, r, refusal.MethodNotAllowed())
		return
	}
	if stale := h.cfg.Stale(); stale != nil && !localPaths[route.Path] {
		h.refuse(w, r, stale.Of(who.Attempt(auth.NoAction, "")))
		return
	}
	do := auth.ActionOf[route.Needs]
	if refused := auth.Authorise(who, do, nil, ""); refused != nil {
		h.refuse(w, r, refused)
		return
	}
	if err := route.checkQuery(r); err != nil {
		h.refuse(w, r, h.cfg.RefusalOf(err, r.Method+" "+r.URL.Path).Of(who.Attempt(do, "")))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	status, answer, err := route.call(r.WithContext(context.WithValue(r.Context(), operatorKey{}, op)))
	stream, streams := answer.(Answer)
	switch {
	case err != nil:
		h.refuse(w, r, h.cfg.RefusalOf(err, r.Method+" "+r.URL.Path).Of(who.Attempt(do, "")))
	case answer == nil:
		w.WriteHeader(status)
	case streams:
		stream.Send(w, r)
	default:
		httpio.WriteJSON(w, status, answer)
	}
}

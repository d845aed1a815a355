package gateway

import (
	"net/http"
	"strings"

	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// router finds the handler of a request by its path as it was sent. It neither decodes
// nor cleans a path and redirects nobody. So a name in a path, and a path that somebody
// else cleaned, never become another resource.
type router struct {
	exact  map[string]http.Handler // by the whole path
	below  map[string]http.Handler // by the beginning of the path, which ends in "/"
	others http.Handler
}

// lenientPaths also match with extra slashes. Clients join an endpoint with a path, and
// no proxy guards these by their spelling.
var lenientPaths = []string{"/", "/realtime", "/realtime/batch", "/realtime/history"}

func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt.find(r.URL.EscapedPath()).ServeHTTP(w, r)
}

func (rt *router) find(path string) http.Handler {
	if handler, found := rt.exact[path]; found {
		return handler
	}
	for _, lenient := range lenientPaths {
		if strings.Trim(path, "/") == lenient[1:] {
			return rt.exact[lenient]
		}
	}
	for beginning, handler := range rt.below {
		if strings.HasPrefix(path, beginning) {
			return handler
		}
	}
	return rt.others
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

package httpio

import (
	"net/http"
	"strings"
)

// Router finds the handler of a request by its path as it was sent. It neither decodes
// nor cleans a path and redirects nobody. So a name in a path, and a path that somebody
// else cleaned, never become another resource.
type Router struct {
	Exact  map[string]http.Handler // by the whole path
	Below  map[string]http.Handler // by the beginning of the path, which ends in "/"
	Others http.Handler
}

// lenientPaths also match with extra slashes. Clients join an endpoint with a path, and
// no proxy guards these by their spelling.
var lenientPaths = []string{
	"/", "/realtime", "/realtime/batch", "/realtime/history", "/realtime/sse", "/realtime/poll", "/realtime/presence",
	"/realtime/channels",
}

func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt.find(r.URL.EscapedPath()).ServeHTTP(w, r)
}

func (rt *Router) find(path string) http.Handler {
	if handler, found := rt.Exact[path]; found {
		return handler
	}
	for _, lenient := range lenientPaths {
		if strings.Trim(path, "/") == lenient[1:] {
			return rt.Exact[lenient]
		}
	}
	for beginning, handler := range rt.Below {
		if strings.HasPrefix(path, beginning) {
			return handler
		}
	}
	return rt.Others
}

package gateway

import (
	"net/http"
	"strings"
)

// router finds what answers a request by its path as it was sent. It neither decodes
// nor cleans a path and redirects nobody: a name in a path, and a path that somebody
// else cleaned, never become another resource.
type router struct {
	exact  map[string]http.Handler // by the whole path
	below  map[string]http.Handler // by the beginning of the path, which ends in "/"
	others http.Handler
}

// lenientPaths are met with slashes too many: clients join what people write for an
// endpoint with a path, and no proxy guards them by their spelling.
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

// idParameter stands in a pattern for an id.
const idParameter = "{id}"

// matchPath reports whether a path is of a pattern and returns the id in it, if the
// pattern has one.
func matchPath(pattern, path string) (id string, ok bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return "", false
	}
	for i := range want {
		switch {
		case want[i] == idParameter && isID(have[i]):
			id = have[i]
		case want[i] != have[i] || want[i] == idParameter:
			return "", false
		}
	}
	return id, true
}

const maxID = 128 // bytes

// isID reports whether text can be an id that a node made: it has no byte that means
// something in a path, escaped or not.
func isID(text string) bool {
	for i := range len(text) {
		b := text[i]
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && (b < '0' || b > '9') && b != '_' && b != '-' {
			return false
		}
	}
	return text != "" && len(text) <= maxID
}

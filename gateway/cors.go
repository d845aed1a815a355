package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// ownHeaders are the request headers of REST that a page must be allowed to send.
var ownHeaders = []string{"content-type", "x-api-key", "idempotency-key"}

// maxAskedHeaders bounds how many headers one preflight may ask for.
const maxAskedHeaders = 64

// withCORS lets pages of other origins read the answers, and answers their preflights,
// which carry no key to judge an origin by. When the project does not allow the origin
// of a request, the page may not read the answer.
func (s *Server) withCORS(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); origin != "" {
			head.Set("Access-Control-Allow-Origin", origin)
			head.Set("Access-Control-Expose-Headers", "Retry-After")
		}
		if r.Method != http.MethodOptions {
			next(w, r)
			return
		}
		head.Add("Vary", "Access-Control-Request-Headers")
		head.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
		asked := r.Header.Values("Access-Control-Request-Headers")
		head.Set("Access-Control-Allow-Headers", strings.Join(allowedHeaders(asked), ", "))
		head.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	}
}

// allowedHeaders returns the headers that a page may send. Nearly all that it asks for
// are among them. Tracing adds headers (traceparent, baggage, sentry-trace, b3) that
// mean nothing here and must not keep the page out.
func allowedHeaders(asked []string) []string {
	allowed := slices.Clone(ownHeaders)
	for name := range strings.SplitSeq(strings.ToLower(strings.Join(asked, ",")), ",") {
		name = strings.TrimSpace(name)
		if len(allowed) < maxAskedHeaders && websocket.IsToken([]byte(name)) &&
			!ofProxy(name) && !slices.Contains(allowed, name) {
			allowed = append(allowed, name)
		}
	}
	return allowed
}

// ofProxy reports whether a header belongs to proxies, which are believed, or to the
// console.
func ofProxy(name string) bool {
	return name == "forwarded" || name == "x-real-ip" ||
		strings.HasPrefix(name, "x-forwarded-") || strings.HasPrefix(name, "x-aptlyd-")
}

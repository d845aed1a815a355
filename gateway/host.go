package gateway

import (
	"net/http"
	"strings"

	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

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

package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
)

// acceptGUID follows the key in the hash of RFC 6455 section 1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// HandshakeError says why a request is refused over HTTP: no browser could have sent it.
type HandshakeError struct {
	Status int
	Reason string
}

// WantsUpgrade reports whether a request asks for a WebSocket at all.
func WantsUpgrade(r *http.Request) bool {
	return hasToken(r.Header.Values("Upgrade"), "websocket") && hasToken(r.Header.Values("Connection"), "upgrade")
}

// LostUpgrade reports whether a proxy has removed the Upgrade header of a request for a
// WebSocket.
func LostUpgrade(r *http.Request) bool { return r.Header.Get("Sec-Websocket-Key") != "" }

// HeadTooLarge returns the error of a head with more than limit bytes.
func HeadTooLarge(limit int) *HandshakeError {
	return &HandshakeError{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf(
		"header is larger than %d bytes (--max-handshake-bytes); cookies of everything on this host are part of it", limit)}
}

// CheckHandshake returns the client's key, or why the request is refused (RFC 6455
// section 4.2.1). A repeated header is refused because two readers of the request could
// each believe a different one.
func CheckHandshake(r *http.Request) (key string, refused *HandshakeError) {
	for _, name := range []string{"Origin", "Host", "Sec-Websocket-Key", "Sec-Websocket-Version"} {
		if len(r.Header[name]) > 1 {
			return "", &HandshakeError{http.StatusBadRequest, "repeated header " + name}
		}
	}
	if r.Header.Get("Sec-Websocket-Version") != "13" {
		return "", &HandshakeError{http.StatusUpgradeRequired, "WebSocket version 13 is required"}
	}
	key = r.Header.Get("Sec-Websocket-Key")
	if !isNonce(key) {
		return "", &HandshakeError{http.StatusBadRequest, "malformed Sec-WebSocket-Key"}
	}
	if r.Method != http.MethodGet || !r.ProtoAtLeast(1, 1) || r.URL.IsAbs() ||
		r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return "", &HandshakeError{http.StatusBadRequest, "not a WebSocket handshake"}
	}
	return key, nil
}

// hasToken reports whether one of the comma-separated lists holds token, in any case.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

// AppendResponse appends the answer that accepts a handshake.
func AppendResponse(dst []byte, key string) []byte {
	sum := sha1.Sum([]byte(key + acceptGUID))
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\n"+
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	return append(dst, "\r\n\r\n"...)
}

// Malformed returns the error of a request that is not HTTP.
func Malformed(reason string) *HandshakeError {
	return &HandshakeError{http.StatusBadRequest, reason}
}

// Upgrade holds a request for a WebSocket.
type Upgrade struct {
	Agent         string
	Key           string
	Host          string
	Origin        string
	ForwardedFor  []string // X-Forwarded-For, line by line
	ForwardedHost []string // X-Forwarded-Host, line by line
}

// ParseUpgrade reads a head that HeadReader has let pass. It reports false unless the
// head is a request for a WebSocket with nothing wrong. All others are for net/http to
// answer.
func ParseUpgrade(head string) (u Upgrade, clean bool) {
	first, rest, _ := strings.Cut(head, "\r\n")
	if first != "GET / HTTP/1.1" && first != "GET /realtime HTTP/1.1" {
		return u, false
	}
	var version string
	var hosts, origins, keys, versions int
	var upgrades, connections []string
	for line := range strings.SplitSeq(rest, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "host":
			u.Host, hosts = value, hosts+1
		case "origin":
			u.Origin, origins = value, origins+1
		case "user-agent":
			u.Agent = value
		case "sec-websocket-key":
			u.Key, keys = value, keys+1
		case "sec-websocket-version":
			version, versions = value, versions+1
		case "upgrade":
			upgrades = append(upgrades, value)
		case "connection":
			connections = append(connections, value)
		case "x-forwarded-for":
			u.ForwardedFor = append(u.ForwardedFor, value)
		case "x-forwarded-host":
			u.ForwardedHost = append(u.ForwardedHost, value)
		case "content-length", "transfer-encoding", "trailer", "expect":
			return u, false
		}
	}
	return u, hosts == 1 && origins <= 1 && keys == 1 && versions == 1 && version == "13" &&
		clientaddr.IsHost(u.Host) && isNonce(u.Key) &&
		hasToken(upgrades, "websocket") && hasToken(connections, "upgrade")
}

// isNonce reports whether a Sec-WebSocket-Key is 16 bytes in base64 (RFC 6455
// section 4.1).
func isNonce(key string) bool {
	nonce, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(nonce) == 16
}

// ErrLostUpgrade refuses a request for which LostUpgrade holds.
var ErrLostUpgrade = &HandshakeError{http.StatusUpgradeRequired, "a WebSocket handshake without its Upgrade header: " +
	"a proxy on the way has removed it (with nginx: proxy_http_version 1.1, proxy_set_header Upgrade and Connection)"}

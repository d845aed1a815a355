package gateway

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
)

// headReader gathers the head of a client's first request: the request line and
// the header lines, up to and with the empty line (RFC 9112 sections 2 and 5).
// It judges lines one by one in their order, so that the outcome is the same
// however the bytes are cut. It is stricter than net/http, which must never
// read a request otherwise than this does.
type headReader struct {
	limit int    // bytes of a head
	kept  []byte // what has come so far
	line  int    // where in kept the line begins that is not complete
	lines int    // complete so far
}

// maxHeaderLines bounds how many header lines a first request may have.
const maxHeaderLines = 64

// next takes what has come since the last call. Once the head is complete it
// returns all that was sent and where the head ends in it; before that, an end
// of 0. What was sent may point into p.
func (h *headReader) next(p []byte) (sent []byte, end int, err *handshakeError) {
	all := p
	if len(h.kept) > 0 {
		h.kept = append(h.kept, p...)
		all = h.kept
	}
	for {
		i := bytes.IndexByte(all[h.line:], '\n')
		end = h.line + i + 1
		if i < 0 && len(all) >= h.limit || end > h.limit {
			return nil, 0, refuseHead(h.limit)
		}
		if i < 0 {
			if len(h.kept) == 0 {
				h.kept = bytes.Clone(p)
			}
			return nil, 0, nil
		}
		line, crlf := bytes.CutSuffix(all[h.line:end], []byte("\r\n"))
		switch {
		case !crlf:
			return nil, 0, malformed("line does not end in CRLF")
		case h.lines == 0:
			err = checkRequestLine(line)
		case len(line) == 0:
			return all, end, nil
		case h.lines > maxHeaderLines:
			err = &handshakeError{http.StatusRequestHeaderFieldsTooLarge, "too many headers"}
		default:
			err = checkHeaderLine(line)
		}
		if err != nil {
			return nil, 0, err
		}
		h.line = end
		h.lines++
	}
}

func malformed(reason string) *handshakeError {
	return &handshakeError{http.StatusBadRequest, reason}
}

func checkRequestLine(line []byte) *handshakeError {
	// Browsers escape what is not ASCII, other clients need not: it is taken as it is.
	for _, b := range line {
		if b < ' ' || b == 0x7f {
			return malformed("control character in the request line")
		}
	}
	if !utf8.Valid(line) {
		return malformed("request line is not valid UTF-8")
	}
	parts := bytes.Split(line, []byte(" "))
	if len(parts) != 3 || !isToken(parts[0]) || len(parts[1]) == 0 || !bytes.HasPrefix(parts[2], []byte("HTTP/")) {
		return malformed("malformed request line")
	}
	return nil
}

func checkHeaderLine(line []byte) *handshakeError {
	if line[0] == ' ' || line[0] == '\t' {
		return malformed("folded header")
	}
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found || !isToken(name) {
		return malformed("malformed header name")
	}
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return malformed("control character in a header")
		}
	}
	return nil
}

// isToken reports whether text is a token of RFC 9110 section 5.6.2.
func isToken(text []byte) bool {
	for _, b := range text {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && !(b >= '0' && b <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", b) < 0 {
			return false
		}
	}
	return len(text) > 0
}

// upgrade is what a request for a WebSocket says.
type upgrade struct {
	agent     string
	key       string
	host      string
	origin    string
	forwarded []string // X-Forwarded-For, line by line
	// forwardedHost is X-Forwarded-Host, line by line.
	forwardedHost []string
}

// parseUpgrade reads a head that headReader has let pass. It reports false for
// all but a request for a WebSocket that nothing is to be said against: the
// others are net/http's to answer.
func parseUpgrade(head string) (u upgrade, clean bool) {
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
			u.host, hosts = value, hosts+1
		case "origin":
			u.origin, origins = value, origins+1
		case "user-agent":
			u.agent = value
		case "sec-websocket-key":
			u.key, keys = value, keys+1
		case "sec-websocket-version":
			version, versions = value, versions+1
		case "upgrade":
			upgrades = append(upgrades, value)
		case "connection":
			connections = append(connections, value)
		case "x-forwarded-for":
			u.forwarded = append(u.forwarded, value)
		case "x-forwarded-host":
			u.forwardedHost = append(u.forwardedHost, value)
		case "content-length", "transfer-encoding", "trailer", "expect":
			return u, false
		}
	}
	return u, hosts == 1 && origins <= 1 && keys == 1 && versions == 1 && version == "13" &&
		clientaddr.IsHost(u.host) && isNonce(u.key) &&
		hasToken(upgrades, "websocket") && hasToken(connections, "upgrade")
}

// isNonce reports whether a Sec-WebSocket-Key is 16 bytes in base64 (RFC 6455
// section 4.1).
func isNonce(key string) bool {
	nonce, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(nonce) == 16
}

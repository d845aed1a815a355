package gateway

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// acceptGUID is what RFC 6455 section 1.3 has a server append to the key.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// handshakeError is an upgrade request that is refused over HTTP, because it is
// not one that a browser could have sent.
type handshakeError struct {
	status int
	reason string
}

// wantsUpgrade reports whether a request asks for a WebSocket at all.
func wantsUpgrade(r *http.Request) bool {
	return hasToken(r.Header.Values("Upgrade"), "websocket") && hasToken(r.Header.Values("Connection"), "upgrade")
}

// lostUpgrade reports whether a request was one for a WebSocket before something on
// the way removed its Upgrade header, as a proxy does that was not told to keep it.
func lostUpgrade(r *http.Request) bool { return r.Header.Get("Sec-Websocket-Key") != "" }

var errLostUpgrade = &handshakeError{http.StatusUpgradeRequired, "a WebSocket handshake without its Upgrade header: " +
	"a proxy on the way has removed it (with nginx: proxy_http_version 1.1, proxy_set_header Upgrade and Connection)"}

// refuseHead is why a request is refused whose head is too large.
func refuseHead(limit int) *handshakeError {
	return &handshakeError{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf(
		"header is larger than %d bytes (--max-handshake-bytes); cookies of everything on this host are part of it", limit)}
}

// refusal is the error as one that is told and counted.
func (e *handshakeError) refusal() *refusal.Error {
	return &refusal.Error{Code: refusal.InvalidMessage, Reason: e.reason, Status: e.status}
}

// refuseHandshake answers a request that makes no sense.
func (s *Server) refuseHandshake(w http.ResponseWriter, r *http.Request, refused *handshakeError) {
	s.metrics.handshakeRefused(refused.status)
	if refused.status == http.StatusUpgradeRequired {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", "13")
	}
	s.refuseVia("handshake", w, r, refused.refusal())
}

// checkHandshake returns the client's key, or why the request is refused (RFC
// 6455 section 4.2.1). A repeated header is refused because two readers of the
// request could each believe a different one.
func checkHandshake(r *http.Request) (key string, refused *handshakeError) {
	for _, name := range []string{"Origin", "Host", "Sec-Websocket-Key", "Sec-Websocket-Version"} {
		if len(r.Header[name]) > 1 {
			return "", &handshakeError{http.StatusBadRequest, "repeated header " + name}
		}
	}
	if r.Header.Get("Sec-Websocket-Version") != "13" {
		return "", &handshakeError{http.StatusUpgradeRequired, "WebSocket version 13 is required"}
	}
	key = r.Header.Get("Sec-Websocket-Key")
	if !isNonce(key) {
		return "", &handshakeError{http.StatusBadRequest, "malformed Sec-WebSocket-Key"}
	}
	if r.Method != http.MethodGet || !r.ProtoAtLeast(1, 1) || r.URL.IsAbs() || r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return "", &handshakeError{http.StatusBadRequest, "not a WebSocket handshake"}
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

func appendHandshakeResponse(dst []byte, key string) []byte {
	sum := sha1.Sum([]byte(key + acceptGUID))
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	return append(dst, "\r\n\r\n"...)
}

// upgrade makes a WebSocket of an HTTP connection and gives it to a loop. Who
// may stay is decided when the client authenticates: a browser does not tell a
// page why a handshake failed.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	key, refused := checkHandshake(r)
	if refused != nil {
		s.refuseHandshake(w, r, refused)
		return
	}
	if s.draining.Load() || !s.admitConnection() {
		s.refuseVia("handshake", w, r, refusal.New(refusal.Unavailable, "no room for a connection"))
		return
	}
	p := s.requestPeer(r)
	if !s.admitStranger(p.address) {
		s.connectionEnded()
		s.refuseVia("handshake", w, r, refuseUnauthenticated())
		return
	}
	gone := func() {
		s.connectionEnded()
		if addr, err := netip.ParseAddr(p.address); err == nil {
			s.unauthenticated.leave(addr)
		}
	}
	socket, early, err := s.hijack(w, appendHandshakeResponse(nil, key))
	if err != nil {
		gone()
		s.cfg.Logger.Debug("upgrade connection", "address", r.RemoteAddr, "error", err)
		return
	}
	hasty := isHasty(r.UserAgent(), r.Header.Get("Origin"), p.host.Value())
	id, l := s.nextConnection()
	if !l.mail.post(func() { l.attach(socket, p, id, hasty, early) }) {
		gone()
		_ = socket.Close()
	}
}

// nextConnection returns the id of a new connection and the loop that is to have it.
func (s *Server) nextConnection() (id uint64, l *loop) {
	id = s.lastConn.Add(1)
	return id, s.loops[id%uint64(len(s.loops))]
}

// hijack takes the socket from net/http, with the bytes that were sent right
// behind the request, and answers.
func (s *Server) hijack(w http.ResponseWriter, response []byte) (net.Conn, []byte, error) {
	socket, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	early, err := s.switchProtocols(socket, buffered, response)
	if err != nil {
		_ = socket.Close()
		return nil, nil, err
	}
	return socket, early, nil
}

func (s *Server) switchProtocols(socket net.Conn, buffered *bufio.ReadWriter, response []byte) ([]byte, error) {
	peeked, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		return nil, fmt.Errorf("read buffered bytes: %w", err)
	}
	early := append([]byte(nil), peeked...)
	if g, ok := guestOf(socket); ok {
		early = append(early, g.early...)
		g.early = nil
		g.depart()
	}
	if tcp, ok := tcpOf(socket); ok {
		// Without a bound a slow client hides megabytes in the kernel.
		if err := tcp.SetWriteBuffer(s.cfg.SendBufferBytes); err != nil {
			return nil, fmt.Errorf("set send buffer: %w", err)
		}
	}
	if err := socket.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	if _, err := socket.Write(response); err != nil {
		return nil, fmt.Errorf("answer handshake: %w", err)
	}
	if err := socket.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("clear deadline: %w", err)
	}
	return early, nil
}

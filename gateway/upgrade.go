package gateway

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// handshakeRefusal returns the refusal of a handshake.
func handshakeRefusal(err *websocket.HandshakeError) *refusal.Error {
	return &refusal.Error{Code: refusal.InvalidMessage, Reason: err.Reason, Status: err.Status}
}

// refuseHandshake answers a request that makes no sense.
func (s *Server) refuseHandshake(w http.ResponseWriter, r *http.Request, refused *websocket.HandshakeError) {
	s.metrics.handshakeRefused(refused.Status)
	if refused.Status == http.StatusUpgradeRequired {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Add("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", "13")
	}
	s.refuseVia("handshake", w, r, handshakeRefusal(refused))
}

// upgrade makes a WebSocket of an HTTP connection and gives it to a loop. It decides
// nothing about the client's rights, which are judged when it authenticates: a browser
// does not tell a page why a handshake failed.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	key, refused := websocket.CheckHandshake(r)
	if refused != nil {
		s.refuseHandshake(w, r, refused)
		return
	}
	if s.draining.Load() || !s.admitConnection() {
		s.refuseVia("handshake", w, r, refusal.New(refusal.Unavailable, "no room for a connection"))
		return
	}
	p := s.requestPeer(r)
	if !s.countUnauthenticated(p.address) {
		s.connectionEnded()
		s.refuseVia("handshake", w, r, refuseUnauthenticated())
		return
	}
	gone := func() {
		s.connectionEnded()
		s.uncountUnauthenticated(p.address)
	}
	socket, early, err := s.hijack(w, websocket.AppendResponse(nil, key))
	if err != nil {
		gone()
		s.cfg.Logger.Debug("upgrade connection", "address", r.RemoteAddr, "err", err)
		return
	}
	losesEarly := losesEarlyAnswer(r.UserAgent(), r.Header.Get("Origin"), p.host.Value())
	id, l := s.nextConnection()
	attach := func() {
		c := newConn(l, p, id)
		c.losesEarly = losesEarly
		l.attach(c, socket, early)
	}
	if !l.mail.post(attach) {
		gone()
		_ = socket.Close()
	}
}

// nextConnection returns the id of a new connection and its loop.
func (s *Server) nextConnection() (id uint64, l *loop) {
	id = s.lastConn.Add(1)
	return id, s.loops[id%uint64(len(s.loops))]
}

// hijack takes the socket from net/http, with the bytes that came right behind the
// request, and answers.
func (s *Server) hijack(w http.ResponseWriter, response []byte) (net.Conn, []byte, error) {
	socket, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	socket = httpio.Hijacked(socket)
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
	if g, ok := httpConnOf(socket); ok {
		early = append(early, g.early...)
		g.early = nil
		g.handedOn()
	}
	if tcp, ok := poll.TCP(socket); ok {
		// Without a bound a slow client hides megabytes in the kernel.
		if err := tcp.SetWriteBuffer(s.cfg.SendBufferBytes); err != nil {
			return nil, fmt.Errorf("set send buffer: %w", err)
		}
	}
	if err := socket.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	if len(response) > 0 {
		if _, err := socket.Write(response); err != nil {
			return nil, fmt.Errorf("answer handshake: %w", err)
		}
	}
	if err := socket.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("clear deadline: %w", err)
	}
	return early, nil
}

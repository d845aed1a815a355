package gateway

import (
	"bytes"
	"container/list"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/sse"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// handshake reads the first request of a client. It ends in a connection on the same
// descriptor, in a connection of net/http, or in an answer that the request makes no
// sense. All of it belongs to its loop.
type handshake struct {
	loop        *loop
	socket      poll.Socket
	from        netip.Addr
	client      netip.Addr    // from, unless a proxy speaks for another one
	proxied     bool          // that is still to be said
	proxyHeader []byte        // of it so far
	deadline    time.Duration // when patience ends, since the loop began
	element     *list.Element // in loop.handshakes or loop.kept, by age
	kept        bool          // answered before, and nothing of the next request has come
	proven      bool          // its client has authenticated before
	head        websocket.HeadReader
	refused     bool // has its answer; later bytes are dropped
	dropped     int  // bytes
}

// maxDropped bounds how much a refused client may send before it is reset. A close while
// bytes are unread would take the answer away from the client.
const maxDropped = 256 << 10

// beginHandshake reads from an accepted descriptor. The request has mostly come with it.
func (l *loop) beginHandshake(a poll.Accepted) {
	s := l.server
	g := &handshake{
		loop:   l,
		from:   a.From,
		client: a.From, proxied: s.proxies.Announce(a.From),
		deadline: l.now + s.cfg.HandshakeTimeout,
		head:     websocket.HeadReader{Limit: s.cfg.MaxHandshakeBytes},
	}
	g.element = l.handshakes.PushBack(g)
	socket, err := l.poller.(poll.Acceptor).Adopt(a, g)
	if err != nil {
		s.cfg.Logger.Debug("greet client", "address", a.From, "err", err)
		g.end()
		g.leavePending()
		return
	}
	g.socket = socket
	socket.Read()
}

// keepAlive reads the next request from a socket whose last one was answered. early holds
// the bytes of it that have come.
func (l *loop) keepAlive(socket poll.Socket, from, client netip.Addr, early []byte) {
	s := l.server
	g := &handshake{
		loop: l, socket: socket, from: from, client: client, kept: true, proven: true,
		deadline: l.now + s.cfg.KeepAliveTimeout,
		head:     websocket.HeadReader{Limit: s.cfg.MaxHandshakeBytes},
	}
	g.element = l.kept.PushBack(g)
	s.pendingConns.Add(1)
	socket.HandTo(g)
	if len(early) > 0 {
		g.Received(early)
	}
}

// nextRequest counts a socket that was kept among the handshakes, since its next request has
// begun. It reports false when there are too many of them.
func (g *handshake) nextRequest() bool {
	s := g.loop.server
	if !s.handshakes.Enter(g.from, s.proxies.Trust(g.from.String())) {
		return false
	}
	g.loop.kept.Remove(g.element)
	g.kept, g.deadline = false, g.loop.now+s.cfg.HandshakeTimeout
	g.element = g.loop.handshakes.PushBack(g)
	return true
}

// expireHandshakes ends the handshakes that took too long, and sockets without a next
// request.
func (l *loop) expireHandshakes() {
	for _, waiting := range []*list.List{&l.handshakes, &l.kept} {
		for e := waiting.Front(); e != nil; e = waiting.Front() {
			g := e.Value.(*handshake)
			if g.deadline > l.now {
				break
			}
			if !g.refused && !g.kept {
				l.server.metrics.handshakesExpired.Inc()
			}
			g.Gone()
		}
	}
}

// Received implements poll.Owner.
func (g *handshake) Received(p []byte) {
	if g.refused {
		if g.dropped += len(p); g.dropped > maxDropped {
			g.end()
			g.leavePending()
			g.socket.Reset()
		}
		return
	}
	if g.kept && !g.nextRequest() {
		g.Gone()
		return
	}
	if g.proxied {
		var done bool
		if p, done = g.readProxyHeader(p); !done {
			return
		}
	}
	sent, end, err := g.head.Next(p)
	switch {
	case err != nil:
		g.refuse(err)
	case end > 0:
		g.decide(sent, end)
	}
}

// readProxyHeader takes the header of a proxy, and returns the bytes behind it.
func (g *handshake) readProxyHeader(p []byte) (rest []byte, done bool) {
	g.proxyHeader = append(g.proxyHeader, p...)
	client, n, err := clientaddr.ParseHeader(g.proxyHeader)
	if err != nil {
		g.refuse(websocket.Malformed(err.Error()))
		return nil, false
	}
	if n == 0 {
		return nil, false
	}
	if rest = g.proxyHeader[n:]; client.IsValid() {
		g.client = client
	}
	g.proxied, g.proxyHeader = false, nil
	return rest, len(rest) > 0
}

// Writable implements poll.Owner.
func (g *handshake) Writable() {}

// Gone implements poll.Owner.
func (g *handshake) Gone() {
	g.end()
	g.leavePending()
	g.socket.Close()
}

// end takes the handshake off those that are not finished.
func (g *handshake) end() {
	if g.kept {
		g.loop.kept.Remove(g.element)
		return
	}
	g.loop.handshakes.Remove(g.element)
	g.loop.server.handshakes.Leave(g.from)
}

// leavePending counts the socket out of the pending ones: it is closed, or a connection.
func (g *handshake) leavePending() {
	g.loop.server.pendingConns.Add(-1)
	if !g.proven {
		g.loop.server.unauthenticated.Leave(g.from)
	}
}

// refuse answers a request that makes no sense.
func (g *handshake) refuse(err *websocket.HandshakeError) {
	g.refused, g.head = true, websocket.HeadReader{}
	s := g.loop.server
	s.metrics.handshakeRefused(err.Status)
	s.refused(handshakeRefusal(err), "handshake", newPeer(g.client.String(), "", ""))
	if _, err := g.socket.Write(plainAnswer(err)); err != nil {
		g.Gone()
		return
	}
	// The client reads the answer and closes, or is closed when it takes too long.
	g.socket.CloseWrite()
}

func plainAnswer(err *websocket.HandshakeError) []byte {
	body := refusalBody(refusal.New(refusal.InvalidMessage, err.Reason))
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"+
		"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		err.Status, http.StatusText(err.Status), len(body), body)
}

// decide hands a complete request on: to a connection of this loop, or to net/http.
func (g *handshake) decide(sent []byte, end int) {
	s := g.loop.server
	g.end()
	if s.open.Load() && !s.draining.Load() {
		head := string(sent[:end])
		if u, clean := websocket.ParseUpgrade(head); clean && s.admitConnection() {
			g.upgrade(u, sent[end:])
			return
		}
		if h, clean := sse.ParseHead(head); clean && g.serveStream(&h, sent[end:]) {
			return
		}
	}
	if err := g.handOver(sent); err != nil {
		s.cfg.Logger.Debug("hand client over to net/http", "address", g.from, "err", err)
		g.leavePending()
	}
}

// upgrade makes a connection of the client. It decides nothing about its rights, which
// are judged when the client authenticates.
func (g *handshake) upgrade(u websocket.Upgrade, early []byte) {
	l := g.loop
	g.leavePending()
	from := g.client.String()
	address := l.server.proxies.Client(from, u.ForwardedFor)
	if !l.server.countUnauthenticated(address) {
		l.server.connectionEnded()
		l.server.refused(refuseUnauthenticated(), "handshake", newPeer(address, u.Origin, u.Host))
		_, _ = g.socket.Write(tooManyHandshakes) // it is closed whether it takes that or not
		g.socket.Close()
		return
	}
	response := websocket.AppendResponse(l.scratch[:0], u.Key)
	if n, err := g.socket.Write(response); err != nil || n < len(response) {
		l.server.uncountUnauthenticated(address)
		l.server.connectionEnded()
		g.socket.Reset()
		return
	}
	host := l.server.proxies.Host(from, u.Host, u.ForwardedHost)
	c := newConn(l, newPeer(address, u.Origin, host), l.server.lastConn.Add(1))
	c.losesEarly = losesEarlyAnswer(u.Agent, u.Origin, host)
	g.socket.HandTo(c)
	l.adopt(c, g.socket, early)
}

// serveStream makes a connection of a client that asks for events, or for a long poll. It
// reports false for a request that has to be refused, which net/http does.
func (g *handshake) serveStream(h *sse.Head, early []byte) bool {
	l, s := g.loop, g.loop.server
	from := g.client.String()
	host := s.proxies.Host(from, h.Host, h.ForwardedHost)
	st, refused := s.newStream(h, nil)
	if refused != nil || host == "" && len(s.proxies.Hosts) > 0 || !s.admitConnection() {
		return false
	}
	address := s.proxies.Client(from, h.ForwardedFor)
	if !s.countUnauthenticated(address) {
		s.connectionEnded()
		return false
	}
	g.leavePending()
	if st.poll != nil {
		st.poll.from, st.poll.client = g.from, g.client
	}
	c := newStreamConn(l, newPeer(address, h.Origin, host), s.lastConn.Add(1), st)
	g.socket.HandTo(c)
	l.adopt(c, g.socket, early)
	return true
}

// handOver gives the client to net/http, with the bytes that it has sent.
func (g *handshake) handOver(sent []byte) error {
	socket, err := g.socket.Release()
	if err != nil {
		return err
	}
	s := g.loop.server
	visitor := s.newHTTPConn(socket, bytes.Clone(sent), g.from)
	visitor.setClient(s, g.client)
	if g.proven {
		visitor.onProved = func() {}
		visitor.proved = true
	}
	visitor.onFirstRequest, visitor.onClose = func() {}, func() { s.pendingConns.Add(-1) }
	if !s.handoff.hand(visitor) {
		return visitor.Close()
	}
	return nil
}

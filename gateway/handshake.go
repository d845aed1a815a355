package gateway

import (
	"bytes"
	"container/list"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
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
	element     *list.Element // in loop.handshakes, by age
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

// expireHandshakes ends the handshakes that took too long.
func (l *loop) expireHandshakes() {
	for e := l.handshakes.Front(); e != nil; e = l.handshakes.Front() {
		g := e.Value.(*handshake)
		if g.deadline > l.now {
			return
		}
		if !g.refused {
			l.server.metrics.handshakesExpired.Inc()
		}
		g.Gone()
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
	g.loop.handshakes.Remove(g.element)
	g.loop.server.handshakes.Leave(g.from)
}

// leavePending counts the socket out of the pending ones: it is closed, or a connection.
func (g *handshake) leavePending() {
	g.loop.server.pendingConns.Add(-1)
	g.loop.server.unauthenticated.Leave(g.from)
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
	body, _ := json.Marshal(refusalJSON{Error: err.Reason, Code: refusal.InvalidMessage}) // of strings, which cannot fail
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"+
		"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n",
		err.Status, http.StatusText(err.Status), len(body)+1, body)
}

// decide hands a complete request on: to a connection of this loop, or to net/http.
func (g *handshake) decide(sent []byte, end int) {
	s := g.loop.server
	g.end()
	u, clean := websocket.ParseUpgrade(string(sent[:end]))
	if clean && s.open.Load() && !s.draining.Load() && s.admitConnection() {
		g.upgrade(u, sent[end:])
		return
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
		if addr, err := netip.ParseAddr(address); err == nil {
			l.server.unauthenticated.Leave(addr)
		}
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

// handOver gives the client to net/http, with the bytes that it has sent.
func (g *handshake) handOver(sent []byte) error {
	socket, err := g.socket.Release()
	if err != nil {
		return err
	}
	s := g.loop.server
	visitor := s.newHTTPConn(socket, bytes.Clone(sent), g.from)
	visitor.setClient(s, g.client)
	visitor.onFirstRequest, visitor.onClose = func() {}, func() { s.pendingConns.Add(-1) }
	if !s.handoff.hand(visitor) {
		return visitor.Close()
	}
	return nil
}

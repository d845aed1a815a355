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

// greeting is a client whose first request is being read. It ends in a
// connection on the same descriptor, with net/http, or with an answer that the
// request makes no sense. All of it belongs to its loop.
type greeting struct {
	loop    *loop
	socket  poll.Socket
	from    netip.Addr
	client  netip.Addr    // who it speaks for: from, unless a proxy has said otherwise
	proxied bool          // that is still to be said
	said    []byte        // of it so far
	by      time.Duration // when patience ends, since the loop began
	waiting *list.Element // in loop.greetings, by their age
	head    websocket.HeadReader
	refused bool // has its answer; what it still sends is dropped
	dropped int  // bytes
}

// maxDropped is how much a refused client may send before it is reset. To close
// while something is unread would take the answer from it.
const maxDropped = 256 << 10

// greet begins with an accepted descriptor, whose request has mostly come with it.
func (l *loop) greet(a poll.Accepted) {
	s := l.server
	g := &greeting{
		loop:   l,
		from:   a.From,
		client: a.From, proxied: s.proxies.Announce(a.From),
		by:   l.now + s.cfg.HandshakeTimeout,
		head: websocket.HeadReader{Limit: s.cfg.MaxHandshakeBytes},
	}
	g.waiting = l.greetings.PushBack(g)
	socket, err := l.poller.(poll.Acceptor).Adopt(a, g)
	if err != nil {
		s.cfg.Logger.Debug("greet client", "address", a.From, "error", err)
		g.end()
		g.leave()
		return
	}
	g.socket = socket
	socket.Read()
}

// expireGreetings ends those that took too long.
func (l *loop) expireGreetings() {
	for e := l.greetings.Front(); e != nil; e = l.greetings.Front() {
		g := e.Value.(*greeting)
		if g.by > l.now {
			return
		}
		if !g.refused {
			l.server.metrics.handshakesExpired.Inc()
		}
		g.Gone()
	}
}

func (g *greeting) Received(p []byte) {
	if g.refused {
		if g.dropped += len(p); g.dropped > maxDropped {
			g.end()
			g.leave()
			g.socket.Reset()
		}
		return
	}
	if g.proxied {
		var done bool
		if p, done = g.hearProxy(p); !done {
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

// hearProxy takes the header that a proxy sends, and returns what came behind it.
func (g *greeting) hearProxy(p []byte) (rest []byte, done bool) {
	g.said = append(g.said, p...)
	client, n, err := clientaddr.ParseHeader(g.said)
	if err != nil {
		g.refuse(websocket.Malformed(err.Error()))
		return nil, false
	}
	if n == 0 {
		return nil, false
	}
	if rest = g.said[n:]; client.IsValid() {
		g.client = client
	}
	g.proxied, g.said = false, nil
	return rest, len(rest) > 0
}

func (g *greeting) Writable() {}

func (g *greeting) Gone() {
	g.end()
	g.leave()
	g.socket.Close()
}

// end takes the greeting off those that are not finished.
func (g *greeting) end() {
	g.loop.greetings.Remove(g.waiting)
	g.loop.server.newcomers.leave(g.from)
}

// leave says that the socket is closed or of the connections now.
func (g *greeting) leave() {
	g.loop.server.strangers.Add(-1)
	g.loop.server.unauthenticated.leave(g.from)
}

// refuse answers a request that makes no sense.
func (g *greeting) refuse(err *websocket.HandshakeError) {
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
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n",
		err.Status, http.StatusText(err.Status), len(body)+1, body)
}

// decide gives a client whose request is there to whom it is for.
func (g *greeting) decide(sent []byte, end int) {
	s := g.loop.server
	g.end()
	u, clean := websocket.ParseUpgrade(string(sent[:end]))
	if clean && s.open.Load() && !s.draining.Load() && s.admitConnection() {
		g.upgrade(u, sent[end:])
		return
	}
	if err := g.handOver(sent); err != nil {
		s.cfg.Logger.Debug("hand client over to net/http", "address", g.from, "error", err)
		g.leave()
	}
}

// upgradeRequest makes a connection of the client. Who may stay is decided when it
// authenticates.
func (g *greeting) upgrade(u websocket.Upgrade, early []byte) {
	l := g.loop
	g.leave()
	from := g.client.String()
	address := l.server.proxies.Client(from, u.ForwardedFor)
	if !l.server.admitStranger(address) {
		l.server.connectionEnded()
		l.server.refused(refuseUnauthenticated(), "handshake", newPeer(address, u.Origin, u.Host))
		_, _ = g.socket.Write(tooManyNewcomers) // it is closed whether it takes that or not
		g.socket.Close()
		return
	}
	response := websocket.AppendResponse(l.scratch[:0], u.Key)
	if n, err := g.socket.Write(response); err != nil || n < len(response) {
		if addr, err := netip.ParseAddr(address); err == nil {
			l.server.unauthenticated.leave(addr)
		}
		l.server.connectionEnded()
		g.socket.Reset()
		return
	}
	host := l.server.proxies.Host(from, u.Host, u.ForwardedHost)
	c := newConn(l, newPeer(address, u.Origin, host), l.server.lastConn.Add(1))
	c.hasty = isHasty(u.Agent, u.Origin, host)
	g.socket.HandTo(c)
	l.adopt(c, g.socket, early)
}

func (g *greeting) handOver(sent []byte) error {
	socket, err := g.socket.Release()
	if err != nil {
		return err
	}
	s := g.loop.server
	visitor := s.newGuest(socket, bytes.Clone(sent), g.from)
	visitor.speaksFor(s, g.client)
	visitor.arrive, visitor.leave = func() {}, func() { s.strangers.Add(-1) }
	if !s.lobby.admit(visitor) {
		return visitor.Close()
	}
	return nil
}

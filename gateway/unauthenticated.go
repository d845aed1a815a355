package gateway

import (
	"math"
	"net/http"
	"net/netip"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

var tooManyHandshakes = []byte("HTTP/1.1 429 Too Many Requests\r\n" +
	"Retry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

// newUnauthenticated returns the counter of sockets whose clients have not authenticated,
// from the moment they are accepted. One address must not take all places of a small node.
func newUnauthenticated(perAddress, connections int) *clientaddr.Counter {
	return clientaddr.NewCounter(math.MaxInt, min(perAddress, max(connections/4, 16)))
}

// refuseHandshakes is the refusal of a client before it could say anything.
func refuseHandshakes() *refusal.Error {
	return refusal.New(refusal.RateLimited, "too many unfinished handshakes from this address")
}

// refuseUnauthenticated is the refusal of an address with too many sockets that have not
// authenticated.
func refuseUnauthenticated() *refusal.Error {
	return refusal.New(refusal.RateLimited, "too many clients from this address have not authenticated")
}

// countUnauthenticated counts in a new connection whose client has not authenticated, unless
// its address has too many.
func (s *Server) countUnauthenticated(address string) bool {
	addr, err := netip.ParseAddr(address)
	return err != nil || s.unauthenticated.Enter(addr, s.proxies.Trust(address))
}

// uncountUnauthenticated counts out a client that countUnauthenticated has counted in.
func (s *Server) uncountUnauthenticated(address string) {
	if addr, err := netip.ParseAddr(address); err == nil {
		s.unauthenticated.Leave(addr)
	}
}

// known counts the client out of those that have not authenticated.
func (c *conn) known() {
	if c.unauthenticated {
		c.unauthenticated = false
		c.loop.server.uncountUnauthenticated(c.peer.address)
	}
}

// proven notes that the client of a request has authenticated. The socket may now be
// kept until the next request. A backend or an operator needs no more turns, unless a proxy
// speaks for others on the same socket.
func proven(r *http.Request, who auth.Kind) {
	g, ok := r.Context().Value(httpConnKey{}).(*httpConn)
	if !ok {
		return
	}
	g.prove()
	if (who == auth.ServerKey || who == auth.Admin) && !g.trusted {
		g.requestTurn.finish()
	} else {
		g.requestTurn.end()
	}
}

// countSocket counts an accepted socket in, unless its address has too many.
func (s *Server) countSocket(from netip.Addr) *refusal.Error {
	trusted := s.proxies.Trust(from.String())
	if !s.handshakes.Enter(from, trusted) {
		return refuseHandshakes()
	}
	if !s.unauthenticated.Enter(from, trusted) {
		s.handshakes.Leave(from)
		return refuseUnauthenticated()
	}
	return nil
}

package gateway

import (
	"net/http"
	"net/netip"
	"sync"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// unauthenticated counts the sockets of each address whose clients have not shown
// yet who they are, from the moment they are accepted: strangers keep few of them,
// and not for long.
type unauthenticated struct {
	perAddress int

	mu        sync.Mutex
	byAddress map[netip.Addr]int // deadline clientaddr.Network
}

func newUnauthenticated(perAddress, connections int) *unauthenticated {
	// An address must not take all places of a small node.
	return &unauthenticated{perAddress: min(perAddress, max(connections/4, 16)), byAddress: make(map[netip.Addr]int)}
}

// enter counts a socket in, unless its address has too many. For a trusted proxy,
// who speaks for many, the address sets no bound.
func (u *unauthenticated) enter(from netip.Addr, trusted bool) bool {
	from = clientaddr.Network(from)
	u.mu.Lock()
	defer u.mu.Unlock()
	if !trusted && u.byAddress[from] >= u.perAddress {
		return false
	}
	u.byAddress[from]++
	return true
}

// leavePending counts a socket out: it is closed, or its client is known.
func (u *unauthenticated) leave(from netip.Addr) {
	from = clientaddr.Network(from)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byAddress[from]--; u.byAddress[from] <= 0 {
		delete(u.byAddress, from)
	}
}

func refuseUnauthenticated() *refusal.Error {
	return refusal.New(refusal.RateLimited, "too many clients from this address have not authenticated")
}

// countUnauthenticated counts a new WebSocket client in that has not authenticated, unless
// there are too many of its address.
func (s *Server) countUnauthenticated(address string) bool {
	addr, err := netip.ParseAddr(address)
	return err != nil || s.unauthenticated.enter(addr, s.proxies.Trust(address))
}

// known counts the client out of those that have not shown who they are.
func (c *conn) known() {
	if !c.unauthenticated {
		return
	}
	c.unauthenticated = false
	if addr, err := netip.ParseAddr(c.peer.address); err == nil {
		c.loop.server.unauthenticated.leave(addr)
	}
}

// proven says that whoever makes a request has shown who they are: the socket may
// be kept for as long as the next request takes.
func proven(r *http.Request) {
	if g, ok := r.Context().Value(httpConnKey{}).(*httpConn); ok {
		g.prove()
	}
}

// countSocket counts an accepted socket in, unless its address has too many.
func (s *Server) countSocket(from netip.Addr) *refusal.Error {
	trusted := s.proxies.Trust(from.String())
	if !s.handshakes.enter(from, trusted) {
		return refuseHandshakes()
	}
	if !s.unauthenticated.enter(from, trusted) {
		s.handshakes.leave(from)
		return refuseUnauthenticated()
	}
	return nil
}

package gateway

import (
	"net/netip"
	"sync"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

var tooManyHandshakes = []byte("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

// handshakes counts the clients whose first request has not come in full, so
// that neither all of them nor those of one address take every descriptor.
type handshakeLimiter struct {
	limit      int // of all
	perAddress int

	mu        sync.Mutex
	total     int
	byAddress map[netip.Addr]int // deadline clientaddr.Network
}

func newHandshakeLimiter(limit, perAddress int) *handshakeLimiter {
	return &handshakeLimiter{limit: limit, perAddress: perAddress, byAddress: make(map[netip.Addr]int)}
}

// full reports whether no more may come for now.
func (n *handshakeLimiter) full() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.total >= n.limit
}

// enter counts a newcomer in, unless there are too many of its address. For a
// trusted proxy, who speaks for many, the address sets no bound.
func (n *handshakeLimiter) enter(from netip.Addr, trusted bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	from = clientaddr.Network(from)
	if !trusted && n.byAddress[from] >= n.perAddress {
		return false
	}
	n.total++
	n.byAddress[from]++
	return true
}

func (n *handshakeLimiter) leave(from netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	from = clientaddr.Network(from)
	n.total--
	if n.byAddress[from]--; n.byAddress[from] == 0 {
		delete(n.byAddress, from)
	}
}

// refuseHandshakes is why a client is turned away before it could say anything.
func refuseHandshakes() *refusal.Error {
	return refusal.New(refusal.RateLimited, "too many unfinished handshakes from this address")
}

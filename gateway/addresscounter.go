package gateway

import (
	"net/netip"
	"sync"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
)

// addressCounter counts sockets, all of them and those of each address, and bounds both.
type addressCounter struct {
	limit      int // of all
	perAddress int

	mu        sync.Mutex
	total     int
	byAddress map[netip.Addr]int // by clientaddr.Network
}

func newAddressCounter(limit, perAddress int) *addressCounter {
	return &addressCounter{limit: limit, perAddress: perAddress, byAddress: make(map[netip.Addr]int)}
}

// full reports whether no more may come for now.
func (n *addressCounter) full() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.total >= n.limit
}

// enter counts a socket in, unless its address has too many. The address of a trusted
// proxy sets no bound, since the proxy speaks for many.
func (n *addressCounter) enter(from netip.Addr, trusted bool) bool {
	from = clientaddr.Network(from)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !trusted && n.byAddress[from] >= n.perAddress {
		return false
	}
	n.total++
	n.byAddress[from]++
	return true
}

// leave counts a socket out.
func (n *addressCounter) leave(from netip.Addr) {
	from = clientaddr.Network(from)
	n.mu.Lock()
	defer n.mu.Unlock()
	left := n.byAddress[from] - 1
	if left < 0 {
		return
	}
	n.total--
	if n.byAddress[from] = left; left == 0 {
		delete(n.byAddress, from)
	}
}

package clientaddr

import (
	"net/netip"
	"sync"
)

// Counter counts sockets, all of them and those of each address, and bounds both.
type Counter struct {
	limit      int // of all
	perAddress int

	Mu        sync.Mutex
	Total     int
	ByAddress map[netip.Addr]int // by Network
}

// NewCounter returns a counter with its two bounds.
func NewCounter(limit, perAddress int) *Counter {
	return &Counter{limit: limit, perAddress: perAddress, ByAddress: make(map[netip.Addr]int)}
}

// Full reports whether no more may come for now.
func (n *Counter) Full() bool {
	n.Mu.Lock()
	defer n.Mu.Unlock()
	return n.Total >= n.limit
}

// Enter counts a socket in, unless its address has too many. The address of a trusted
// proxy sets no bound, since the proxy speaks for many.
func (n *Counter) Enter(from netip.Addr, trusted bool) bool {
	from = Network(from)
	n.Mu.Lock()
	defer n.Mu.Unlock()
	if !trusted && n.ByAddress[from] >= n.perAddress {
		return false
	}
	n.Total++
	n.ByAddress[from]++
	return true
}

// Leave counts a socket out.
func (n *Counter) Leave(from netip.Addr) {
	from = Network(from)
	n.Mu.Lock()
	defer n.Mu.Unlock()
	left := n.ByAddress[from] - 1
	if left < 0 {
		return
	}
	n.Total--
	if n.ByAddress[from] = left; left == 0 {
		delete(n.ByAddress, from)
	}
}

package ratelimit

import "sync"

// InFlight bounds how many of something are under way at once on the node, of each key
// and of each address.
type InFlight struct {
	node, key, address int // the most of each

	mu  sync.Mutex
	all int
	of  map[string]int // by key, and by address
}

// NewInFlight returns bounds by which nothing is under way yet.
func NewInFlight(node, key, address int) *InFlight {
	return &InFlight{node: node, key: key, address: address, of: make(map[string]int)}
}

// Enter counts n in and returns a function that counts them out. When there are too
// many, full says of what. The address sets no bound unless bound is set. A single one is
// never too many.
func (g *InFlight) Enter(key, address string, bound bool, n int) (leave func(), full string) {
	key, address = "key "+key, "address "+address
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case bound && exceeds(g.of[address], n, g.address):
		return nil, "from this address"
	case exceeds(g.of[key], n, g.key):
		return nil, "with this key"
	case exceeds(g.all, n, g.node):
		return nil, "on this node"
	}
	g.all += n
	g.of[key] += n
	g.of[address] += n
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.all -= n
		for _, name := range []string{key, address} {
			if g.of[name] -= n; g.of[name] == 0 {
				delete(g.of, name)
			}
		}
	}, ""
}

// Count returns how many are under way.
func (g *InFlight) Count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all
}

func exceeds(now, more, most int) bool { return now > 0 && now+more > most }

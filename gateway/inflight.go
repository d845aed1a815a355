package gateway

import "sync"

// inFlight bounds how many of something are under way at once: on the node, and of
// each key and address.
type inFlight struct {
	node, key, address int // the most of each

	mu  sync.Mutex
	all int
	of  map[string]int // by key, and by address
}

func newInFlight(node, key, address int) *inFlight {
	return &inFlight{node: node, key: key, address: address, of: make(map[string]int)}
}

// enter counts one in and returns what counts it out, or of what there is too
// much. The address of a backend sets no bound.
func (g *inFlight) enter(who principal, address string) (leave func(), full string) {
	key, network := "key "+who.key, "address "+network(address)
	bound := who.kind != serverKey && who.kind != admin
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case bound && g.of[network] >= g.address:
		return nil, "from this address"
	case g.of[key] >= g.key:
		return nil, "with this key"
	case g.all >= g.node:
		return nil, "on this node"
	}
	g.all++
	g.of[key]++
	g.of[network]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.all--
		for _, name := range []string{key, network} {
			if g.of[name]--; g.of[name] == 0 {
				delete(g.of, name)
			}
		}
	}, ""
}

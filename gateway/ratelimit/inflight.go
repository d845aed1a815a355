package gateway

import (
	"sync"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
)

// inFlight bounds how many of something are under way at once on the node, of each key
// and of each address.
type inFlight struct {
	node, key, address int // the most of each

	mu  sync.Mutex
	all int
	of  map[string]int // by key, and by address
}

func newInFlight(node, key, address int) *inFlight {
	return &inFlight{node: node, key: key, address: address, of: make(map[string]int)}
}

// enter counts n in and returns a function that counts them out. When there are too
// many, full says of what. The address of a backend sets no bound. A single one is never
// too many.
func (g *inFlight) enter(who auth.Principal, address string, n int) (leave func(), full string) {
	key, network := "key "+who.KeyID, "address "+clientaddr.NetworkOf(address)
	bound := who.Kind != auth.ServerKey && who.Kind != auth.Admin
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case bound && exceeds(g.of[network], n, g.address):
		return nil, "from this address"
	case exceeds(g.of[key], n, g.key):
		return nil, "with this key"
	case exceeds(g.all, n, g.node):
		return nil, "on this node"
	}
	g.all += n
	g.of[key] += n
	g.of[network] += n
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.all -= n
		for _, name := range []string{key, network} {
			if g.of[name] -= n; g.of[name] == 0 {
				delete(g.of, name)
			}
		}
	}, ""
}

func exceeds(now, more, most int) bool { return now > 0 && now+more > most }

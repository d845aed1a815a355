package cluster

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// panics counts the requests of peers on which a panic ended the work, and logs the
// first of each method.
type panics struct {
	log *slog.Logger

	mu    sync.Mutex
	total uint64
	said  map[peer.Method]bool
}

// note takes the cause of a panic. It is called while the stack still shows it.
func (p *panics) note(m peer.Method, cause any) {
	p.mu.Lock()
	p.total++
	first := !p.said[m]
	if first {
		if p.said == nil {
			p.said = make(map[peer.Method]bool)
		}
		p.said[m] = true
	}
	p.mu.Unlock()
	if first {
		p.log.Error("a request of a peer could not be worked on; others like it are only counted", "method", int(m),
			"err", fmt.Errorf("panic: %v", cause), "stack", string(debug.Stack()))
	}
}

// PeerPanics returns how many requests of peers ended in a panic.
func (c *Cluster) PeerPanics() uint64 {
	c.panics.mu.Lock()
	defer c.panics.mu.Unlock()
	return c.panics.total
}

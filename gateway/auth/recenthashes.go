package auth

import (
	"sync"

	"github.com/aptlyd/aptlyd/fsm"
)

// RecentHashes remembers the hashes that were added last: at least capacity of them, and at
// most twice as many.
type RecentHashes struct {
	capacity int

	mu         sync.Mutex
	young, old map[fsm.KeyHash]struct{}
}

// NewRecentHashes returns an empty memory.
func NewRecentHashes(capacity int) *RecentHashes {
	return &RecentHashes{capacity: capacity, young: make(map[fsm.KeyHash]struct{})}
}

// Add remembers a hash.
func (r *RecentHashes) Add(hash fsm.KeyHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.young) >= r.capacity {
		r.old, r.young = r.young, make(map[fsm.KeyHash]struct{})
	}
	r.young[hash] = struct{}{}
}

// Has reports whether a hash is remembered.
func (r *RecentHashes) Has(hash fsm.KeyHash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, young := r.young[hash]
	_, old := r.old[hash]
	return young || old
}

package gateway

import (
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// failure is why a credential was not accepted.
type failure struct {
	refusal *Refusal
	// unknown says that the cluster may know of the key what this node does not yet.
	unknown bool
	// keyID is the signing key that a token names and this node does not know.
	keyID string
	// honest says that the credential was good once: a token that has expired, with
	// a good signature.
	honest bool
}

// failedAuths bounds how fast secrets can be guessed, by address and by what was
// tried. A credential that was good once is no guess: an office full of browsers whose
// tokens have expired, or whose key was revoked, is told so, each of them.
type failedAuths struct {
	rate   rate
	meters *limiter
	ended  *recentHashes // of keys, and of the ids of keys
}

// maxEnded bounds the ended keys that a node remembers: about 2 MB.
const maxEnded = 1 << 14

func newFailedAuths(r rate) *failedAuths {
	return &failedAuths{rate: r, meters: newLimiter(), ended: newRecentHashes(maxEnded)}
}

// count spends what a failure costs and returns a refusal for an address or a text
// that fails too often.
func (f *failedAuths) count(address, text string, failed *failure) *Refusal {
	hash := fsm.HashKey(text)
	switch {
	case failed.honest, failed.refusal.Code == CodeAuthRequired:
		return nil
	case f.ended.has(hash), failed.keyID != "" && f.ended.has(hashOfKeyID(failed.keyID)):
		return nil
	}
	wait := max(f.meters.take("address "+network(address), f.rate), f.meters.take("key "+string(hash[:]), f.rate))
	if wait == 0 {
		return nil
	}
	return &Refusal{Code: CodeRateLimited, Reason: "too many failed authentications", RetryAfter: max(wait, time.Millisecond)}
}

// keyEnded notes that a key was good once, and the tokens that it signed.
func (f *failedAuths) keyEnded(key fsm.Key) {
	f.ended.add(key.Hash)
	f.ended.add(hashOfKeyID(key.ID))
}

func hashOfKeyID(id string) fsm.KeyHash { return fsm.HashKey("id " + id) }

// recentHashes remembers the hashes that were added last: capacity of them at least,
// and twice as many at most.
type recentHashes struct {
	capacity int

	mu         sync.Mutex
	young, old map[fsm.KeyHash]struct{}
}

func newRecentHashes(capacity int) *recentHashes {
	return &recentHashes{capacity: capacity, young: make(map[fsm.KeyHash]struct{})}
}

func (r *recentHashes) add(hash fsm.KeyHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.young) >= r.capacity {
		r.old, r.young = r.young, make(map[fsm.KeyHash]struct{})
	}
	r.young[hash] = struct{}{}
}

func (r *recentHashes) has(hash fsm.KeyHash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, young := r.young[hash]
	_, old := r.old[hash]
	return young || old
}

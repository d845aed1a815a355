package gateway

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// failure is why a credential was not accepted.
type failure struct {
	refusal *refusal.Error
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
	rate    ratelimit.Rate
	limiter *ratelimit.Limiter
	ended   *recentHashes // of the prefixes and of the ids of keys
}

// maxEnded bounds the ended keys that a node remembers: about 2 MB.
const maxEnded = 1 << 14

// An ended key is known by its first characters, which the audit keeps too. A text that
// only begins alike is not limited either, which helps nobody: what is unknown of a live
// key cannot be guessed, and its prefix is another.
func hashOfPrefix(prefix string) fsm.KeyHash { return fsm.HashKey("prefix " + prefix) }

func newFailedAuths(r ratelimit.Rate) *failedAuths {
	return &failedAuths{rate: r, limiter: ratelimit.NewLimiter(), ended: newRecentHashes(maxEnded)}
}

// count spends what a failure costs and returns a refusal for an address or a text
// that fails too often.
func (f *failedAuths) count(address, text string, failed *failure) *refusal.Error {
	hash := fsm.HashKey(text)
	switch {
	case failed.honest, failed.refusal.Code == refusal.AuthRequired:
		return nil
	case CheckKeyText(text) == nil && f.ended.has(hashOfPrefix(someone(text).prefix)), failed.keyID != "" && f.ended.has(hashOfKeyID(failed.keyID)):
		return nil
	}
	wait := max(f.limiter.Take("address "+clientaddr.NetworkOf(address), f.rate), f.limiter.Take("key "+string(hash[:]), f.rate))
	if wait == 0 {
		return nil
	}
	return &refusal.Error{Code: refusal.RateLimited, Reason: "too many failed authentications", RetryAfter: max(wait, time.Millisecond)}
}

// keyEnded notes that a key was good once, and the tokens that it signed.
func (f *failedAuths) keyEnded(id, prefix string) {
	f.ended.add(hashOfPrefix(prefix))
	f.ended.add(hashOfKeyID(id))
}

// learn takes the keys that ended before this process from the audit, the newest first.
// A rotated key that still lives is found before anybody asks here.
func (f *failedAuths) learn(audit []fsm.AuditRecord) {
	for _, r := range slices.Backward(audit) {
		if r.Action != "key.revoke" && r.Action != "key.rotate" {
			continue
		}
		var key struct {
			Prefix string `json:"prefix"`
		}
		_ = json.Unmarshal(r.Before, &key) // without a prefix the key is known by its id alone
		f.keyEnded(r.Target, key.Prefix)
	}
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

package auth

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Failure says why a credential was not accepted.
type Failure struct {
	Refusal *refusal.Error
	// Unknown says that the cluster may know a key that this node does not know yet.
	Unknown bool
	// KeyID is the signing key that a token names and this node does not know.
	KeyID string
	// Honest says that the credential was good once: an expired token with a good
	// signature.
	Honest bool
}

// FailureLimiter bounds how fast secrets can be guessed, by address and by text. A credential
// that was good once is no guess: of many browsers behind one address, each hears that its
// token has expired or its key was revoked.
type FailureLimiter struct {
	rate    ratelimit.Rate
	limiter *ratelimit.Limiter
	ended   *RecentHashes // of the prefixes and of the ids of keys
}

// MaxEndedKeys bounds the ended keys that a node remembers: about 2 MB.
const MaxEndedKeys = 1 << 14

// hashOfPrefix returns the hash under which an ended key is remembered: that of its first
// characters, which the audit keeps, too. Other texts with this beginning are not limited
// either. That helps no attacker: live keys have other prefixes.
func hashOfPrefix(prefix string) fsm.KeyHash { return fsm.HashKey("prefix " + prefix) }

// NewFailureLimiter returns a limiter that allows a rate of failures per address and per text.
func NewFailureLimiter(r ratelimit.Rate) *FailureLimiter {
	return &FailureLimiter{rate: r, limiter: ratelimit.NewLimiter(), ended: NewRecentHashes(MaxEndedKeys)}
}

// Count counts a failure, and refuses an address or a text that fails too often.
func (f *FailureLimiter) Count(address, text string, failed *Failure) *refusal.Error {
	hash := fsm.HashKey(text)
	switch {
	case failed.Honest, failed.Refusal.Code == refusal.AuthRequired:
		return nil
	case CheckKeyText(text) == nil && f.ended.Has(hashOfPrefix(Unknown(text).KeyPrefix)),
		failed.KeyID != "" && f.ended.Has(hashOfKeyID(failed.KeyID)):
		return nil
	}
	wait := max(
		f.limiter.Take("address "+clientaddr.NetworkOf(address), f.rate),
		f.limiter.Take("key "+string(hash[:]), f.rate),
	)
	if wait == 0 {
		return nil
	}
	return &refusal.Error{
		Code: refusal.RateLimited, Reason: "too many failed authentications", RetryAfter: max(wait, time.Millisecond),
	}
}

// KeyEnded notes that a key was good once, and so were the tokens that it signed.
func (f *FailureLimiter) KeyEnded(id, prefix string) {
	f.ended.Add(hashOfPrefix(prefix))
	f.ended.Add(hashOfKeyID(id))
}

// Learn takes the keys that ended before this process began from the audit, which is given
// newest first. A rotated key that still lives is found among the keys before.
func (f *FailureLimiter) Learn(audit []fsm.AuditRecord) {
	for _, r := range slices.Backward(audit) {
		if r.Action != "key.revoke" && r.Action != "key.rotate" {
			continue
		}
		var key struct {
			Prefix string `json:"prefix"`
		}
		_ = json.Unmarshal(r.Before, &key) // without a prefix the key is known by its id alone
		f.KeyEnded(r.Target, key.Prefix)
	}
}

func hashOfKeyID(id string) fsm.KeyHash { return fsm.HashKey("id " + id) }

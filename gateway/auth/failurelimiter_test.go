package auth

import (
	"fmt"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Keys that ended before the process began are known from the audit.
func TestKeysThatEndedBeforeAreKnown(t *testing.T) {
	f := NewFailureLimiter(ratelimit.PerSecond(1, 1))
	revoked, rotated, never := NewKeyText(fsm.PublicKey), NewKeyText(fsm.ServerKey), NewKeyText(fsm.PublicKey)
	f.Learn([]fsm.AuditRecord{
		{Seq: 3, Action: "key.create", Target: "key_3", After: []byte(`{"id":"key_3"}`)},
		{
			Seq: 2, Action: "key.revoke", Target: "key_1",
			Before: fmt.Appendf(nil, `{"id":"key_1","kind":"public","prefix":%q}`, revoked[:8]),
		},
		{Seq: 1, Action: "key.rotate", Target: "key_2", Before: fmt.Appendf(nil, `{"id":"key_2","prefix":%q}`, rotated[:8])},
	})
	unknown := &Failure{Unknown: true, Refusal: refusal.New(refusal.InvalidKey, invalidKey)}
	for range 100 {
		for _, text := range []string{revoked, rotated} {
			if limited := f.Count("192.0.2.1", text, unknown); limited != nil {
				t.Fatalf("an ended key is limited: %v", limited)
			}
		}
		signed := &Failure{Unknown: true, KeyID: "key_1", Refusal: refusal.New(refusal.TokenInvalid, "")}
		if limited := f.Count("192.0.2.1", "a.b.c", signed); limited != nil {
			t.Fatalf("a token of an ended key is limited: %v", limited)
		}
	}
	if f.Count("192.0.2.1", never, unknown) != nil || f.Count("192.0.2.1", never, unknown) == nil {
		t.Error("a key that never was is not limited after the first")
	}
	mistyped := revoked[:42] + "!"
	if f.Count("192.0.2.2", mistyped, unknown) != nil || f.Count("192.0.2.2", mistyped, unknown) == nil {
		t.Error("what is no key, but begins like an ended one, is not limited")
	}
}

func TestRecentHashesAreBounded(t *testing.T) {
	r := NewRecentHashes(4)
	hash := func(i int) fsm.KeyHash { return fsm.HashKey(fmt.Sprint(i)) }
	for i := range 100 {
		r.Add(hash(i))
		for j := max(0, i-3); j <= i; j++ {
			if !r.Has(hash(j)) {
				t.Fatalf("%d is forgotten after %d", j, i)
			}
		}
		if held := len(r.young) + len(r.old); held > 8 {
			t.Fatalf("%d are held", held)
		}
	}
}

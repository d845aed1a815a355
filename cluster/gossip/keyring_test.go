package gossip

import (
	"testing"

	"github.com/hashicorp/memberlist"
)

// The first secret encrypts and all are understood, as on the peer port.
func TestKeyringsThatShareASecretMeet(t *testing.T) {
	rings := make(map[string]*memberlist.Keyring)
	for name, secrets := range map[string][]string{"old": {"a"}, "both": {"a", "b"}, "new": {"b", "a"}, "other": {"c"}} {
		ring, err := keyring(secrets)
		if err != nil {
			t.Fatal(err)
		}
		rings[name] = ring
	}
	for pair, want := range map[[2]string]bool{
		{"old", "old"}: true, {"old", "both"}: true, {"both", "new"}: true, {"old", "new"}: false, {"old", "other"}: false,
	} {
		one, two := rings[pair[0]], rings[pair[1]]
		if got := knows(one, two.GetPrimaryKey()) && knows(two, one.GetPrimaryKey()); got != want {
			t.Errorf("%v understand each other: %t", pair, got)
		}
	}
}

func knows(ring *memberlist.Keyring, key []byte) bool {
	for _, k := range ring.GetKeys() {
		if string(k) == string(key) {
			return true
		}
	}
	return false
}

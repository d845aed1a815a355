package gossip

import (
	"testing"

	"github.com/hashicorp/memberlist"
)

func TestKeyringsThatShareASecretMeet(t *testing.T) {
	const before, after, other = "the secret before", "the secret after", "the secret of others"
	for _, test := range []struct {
		name          string
		dials, serves []string
		meet          bool
	}{
		{"the same", []string{before}, []string{before}, true},
		{"another", []string{before}, []string{other}, false},
		{"one who knows both, shows the old", []string{before, after}, []string{before}, true},
		{"met by one who knows both", []string{before}, []string{before, after}, true},
		{"both know both", []string{before, after}, []string{after, before}, true},
		{"the new one is shown too early", []string{after, before}, []string{before}, false},
		{"the old one is gone too early", []string{before, after}, []string{after}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, err := keyring(test.dials)
			if err != nil {
				t.Fatal(err)
			}
			to, err := keyring(test.serves)
			if err != nil {
				t.Fatal(err)
			}
			if both := knows(to, from.GetPrimaryKey()) && knows(from, to.GetPrimaryKey()); both != test.meet {
				t.Errorf("they understand each other: %t", both)
			}
		})
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

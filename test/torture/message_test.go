package torture

import (
	"bytes"
	"testing"
)

func TestOneFlippedBitOfAMessageShows(t *testing.T) {
	sound := payload("publisher-1.7")
	if got := tagOf(sound); got != "publisher-1.7" {
		t.Fatalf("tag %q", got)
	}
	for i := range sound {
		for bit := range 8 {
			bad := bytes.Clone(sound)
			bad[i] ^= 1 << bit
			if got := tagOf(bad); got == "publisher-1.7" {
				t.Fatalf("bit %d of byte %d may be flipped", bit, i)
			}
		}
	}
}

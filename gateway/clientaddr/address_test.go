package clientaddr

import (
	"testing"
)

func TestNetworkOfAnAddress(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":              "192.0.2.7",
		"2001:db8:1:2:3:4:5:6":   "2001:db8:1:2::",
		"2001:db8:1:2:ffff::":    "2001:db8:1:2::",
		"2001:db8:1:3::":         "2001:db8:1:3::",
		"::1":                    "::",
		"fe80::1%eth0":           "fe80::",
		"not an address: at all": "not an address: at all",
		"":                       "",
	} {
		if got := NetworkOf(address); got != want {
			t.Errorf("%q counts as %q, want %q", address, got, want)
		}
	}
}

package gateway

import (
	"crypto/rand"
	"net/netip"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
)

// Every limit per address is one for the whole /64.
func TestLimitsPerAddressAreOfTheNetwork(t *testing.T) {
	const here, neighbour, elsewhere = "2001:db8:1:2::1", "2001:db8:1:2:9::1", "2001:db8:1:3::1"
	h := newHarness(t, "portable", func(c *Config) {
		c.MaxAddressHandshakes, c.FailedAuthBurst = 5, 5
		c.AddressPublish, c.ConnectionPublish = slowly, slowly
	})
	s := h.server
	project, _ := h.broker.Project(testProject)
	who := auth.Principal{Kind: auth.PublicKey, KeyID: "key", Project: testProject}
	for name, use := range map[string]func(address string) (ok bool){
		"handshakes": func(address string) bool { return s.handshakes.Enter(netip.MustParseAddr(address), false) },
		"failed authentications": func(address string) bool {
			_, failed := auth.Identify(auth.NewKeyText(fsm.PublicKey), h.broker)
			return s.failures.Count(address, rand.Text(), failed) == nil
		},
		"publishes": func(address string) bool { return s.shared(who, auth.Publish, project, address) == nil },
		"requests":  func(address string) bool { return s.spendRequest(who, auth.Publish, project, "c", address) == nil },
	} {
		for i := range 5 {
			if !use(here) {
				t.Errorf("%s: refused after %d", name, i)
			}
		}
		if use(neighbour) {
			t.Errorf("%s: another address of the /64 is not bound", name)
		}
		if !use(elsewhere) {
			t.Errorf("%s: another /64 is bound", name)
		}
	}
	for range 5 {
		s.handshakes.Leave(netip.MustParseAddr(neighbour))
	}
	s.handshakes.Leave(netip.MustParseAddr(elsewhere))
	if len(s.handshakes.ByAddress) != 0 {
		t.Errorf("left behind: %v", s.handshakes.ByAddress)
	}
}

package gossip

import (
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
)

func TestMetaOfNoNodeIsRefused(t *testing.T) {
	const one, two = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
	for meta, want := range map[Meta]bool{
		{Name: "a", Peer: "h:1", Start: 1}:                  true,
		{Name: "a", Peer: "h:1", Start: 1, Cluster: one}:    true,
		{Name: "a", Peer: "h:1", Start: 2}:                  false,
		{Name: "a", Peer: "h", Start: 1}:                    false,
		{Name: "", Peer: "h:1", Start: 1}:                   false,
		{Name: "a", Peer: "h:1", Start: 1, Cluster: "x"}:    false,
		{Name: "a", Peer: "h:70000", Start: 1}:              false,
		{Name: "a", Peer: "h:1", Start: 1, Version: "\xff"}: false,
	} {
		if got := meta.check(memberName(two, 1)) == nil; got != want {
			t.Errorf("%+v passes: %t", meta, got)
		}
	}
}

// FuzzMeta feeds gossip any metadata, as a node that knows the secret could.
func FuzzMeta(f *testing.F) {
	f.Add("7b0c1a0e-4a3e-4b1a-9a51-0d6f0f0d8a11/1", []byte(`{"n":"node1","p":"127.0.0.1:7400","s":1}`))
	f.Add("x", []byte(`{`))
	f.Fuzz(func(t *testing.T, name string, meta []byte) {
		g := newGossip(Config{})
		d := delegate{g}
		node := &memberlist.Node{Name: name, Addr: net.IPv4(127, 0, 0, 1), Meta: meta}
		d.NotifyJoin(node)
		all := g.All()
		if n, ok := g.Find(strings.Split(name, "/")[0]); ok != (len(all) == 1) || ok && n != all[0] {
			t.Errorf("%q with %q makes %+v", name, meta, all)
		}
		d.NotifyLeave(node)
		if left := g.All(); len(left) != 0 {
			t.Errorf("%+v stays", left)
		}
	})
}

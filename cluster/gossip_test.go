package cluster

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// stopWithin is what a node has for stopping once its clients are drained.
const stopWithin = 5 * time.Second

// TestASilentSeedHoldsUpNoStop: a machine that is gone answers nobody's knocking, not
// even with a refusal.
func TestASilentSeedHoldsUpNoStop(t *testing.T) {
	t.Parallel()
	var seeds []string
	knocked := make(chan net.Conn, 1000) // which keeps them open
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, l.Addr().String())
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				knocked <- conn
			}
		}()
	}
	tc := &testCluster{t: t, root: t.TempDir(), tune: func(c *Config) { c.Join = seeds }}
	node := tc.start("node1", 3, "node1")
	eventually(t, func() error {
		if n := len(knocked); n < len(seeds) {
			return fmt.Errorf("knocked %d times", n)
		}
		return nil
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		node.stop(t)
	}()
	select {
	case <-stopped:
	case <-time.After(stopWithin):
		t.Error("the node waits for those who do not answer")
		<-stopped
	}
}

// FuzzNodeMeta feeds gossip any metadata, as a node that knows the secret could.
func FuzzNodeMeta(f *testing.F) {
	f.Add("7b0c1a0e-4a3e-4b1a-9a51-0d6f0f0d8a11/1", []byte(`{"n":"node1","p":"127.0.0.1:7400","s":1}`))
	f.Add("x", []byte(`{`))
	f.Fuzz(func(t *testing.T, name string, meta []byte) {
		g := &gossip{changed: make(chan struct{}, 1), neighbours: make(map[string]neighbour)}
		d := gossipDelegate{g}
		node := &memberlist.Node{Name: name, Addr: net.IPv4(127, 0, 0, 1), Meta: meta}
		d.NotifyJoin(node)
		all := g.all()
		if n, ok := g.find(strings.Split(name, "/")[0]); ok != (len(all) == 1) || ok && n != all[0] {
			t.Errorf("%q with %q makes %+v", name, meta, all)
		}
		d.NotifyLeave(node)
		if left := g.all(); len(left) != 0 {
			t.Errorf("%+v stays", left)
		}
	})
}

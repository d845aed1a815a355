package cluster

import (
	"fmt"
	"net"
	"testing"
	"time"
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

package test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

// A node that was not heard, or did not hear, for a while is ready again soon after
// it is, however the time between two attempts of TCP had grown by then.
func TestNodeThatWasDeafOrDumb(t *testing.T) {
	n := startNetwork(t)
	follower := (leader(t, n) + 1) % n.Len()
	var others []*lab.Host
	for i, h := range n.hosts {
		if i != follower {
			others = append(others, h)
		}
	}
	node := n.hosts[follower]
	for _, fault := range []struct {
		name       string
		begin, end func(other *lab.Host)
	}{
		{"dumb", node.Mute, node.Unmute},
		{"deaf", func(other *lab.Host) { other.Mute(node) }, func(other *lab.Host) { other.Unmute(node) }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			door := n.door(t, follower)
			for _, other := range others {
				fault.begin(other)
			}
			time.Sleep(8 * time.Second) // long enough for TCP to wait for long
			for _, other := range others {
				fault.end(other)
			}
			healed := time.Now()
			eventually(t, deadline, func() error {
				response, err := http.Get("http://" + door + "/readyz")
				if err != nil {
					return err
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					return fmt.Errorf("/readyz answers %s", response.Status)
				}
				return nil
			})
			took := time.Since(healed)
			t.Logf("ready again %v after it is heard", took)
			if took > 5*time.Second { // promised, so asserted
				t.Errorf("ready again only %v after it is heard", took)
			}
		})
	}
}

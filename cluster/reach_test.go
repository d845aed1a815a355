package cluster

import (
	"fmt"
	"testing"
	"time"
)

// Without a leader nobody tells a node who is there, and gossip believes in a node that hangs for
// long. So the node looks itself.
func TestWithoutALeaderMembersAreProbed(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, nil)
	tc.ready()
	stays := tc.leader()
	eventually(t, func() error {
		for _, m := range stays.Members() {
			if _, lately := stays.Led(); !lately || m.LastHeard.IsZero() {
				return fmt.Errorf("the leader has not heard of %s", m.Name)
			}
		}
		return nil
	})
	for _, n := range tc.running() {
		if n != stays {
			n.kill(t)
		}
	}
	eventually(t, func() error {
		if _, lately := stays.Led(); lately {
			return fmt.Errorf("it takes itself for led")
		}
		for _, m := range stays.Members() {
			switch _, probed := stays.probes.last(m.ID); {
			case m.ID == stays.id:
			case !probed || m.Alive:
				return fmt.Errorf("%s is alive: %v, probed: %v", m.Name, m.Alive, probed)
			case m.LastHeard.IsZero() || time.Since(m.LastHeard) > patience:
				t.Errorf("%s was last heard at %v", m.Name, m.LastHeard)
			}
		}
		return nil
	})
}

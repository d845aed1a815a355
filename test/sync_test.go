package test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// TestOneSyncOnTheWayToAnAcknowledgement has every sync of every node last long beside all
// else that a publish needs. The leader's is under way while its followers' are.
func TestOneSyncOnTheWayToAnAcknowledgement(t *testing.T) {
	lab.NeedTool(t, "strace")
	const sync = 100 * time.Millisecond
	c := startCluster(t, 3)
	lead := leader(t, c)
	paths := []struct {
		name  string
		node  int
		syncs float64 // within which half of all publishes are acknowledged
	}{{"the leader", lead, 1.5}, {"a follower", (lead + 1) % c.Len(), 2}}
	besides := make(map[string]time.Duration) // on this machine, without the syncs
	for _, through := range paths {
		besides[through.name] = medianPublish(t, c, through.node)
	}
	for i := range c.Len() {
		lab.Inject(t, c.PID(i), "fsync,fdatasync", fmt.Sprintf("delay_exit=%d", sync.Microseconds()))
	}
	for _, through := range paths {
		median, limit := medianPublish(t, c, through.node), time.Duration(through.syncs*float64(sync))
		t.Logf("through %s: acknowledged after %v, of which %v are not for the syncs", through.name,
			median.Round(time.Millisecond), besides[through.name].Round(time.Millisecond))
		if median > limit+besides[through.name] {
			t.Errorf("through %s a publish is acknowledged after %v, %v and %v are allowed", through.name, median, limit,
				besides[through.name])
		}
	}
}

// medianPublish publishes on a node, one message after the other, and returns how long half of
// them take at most.
func medianPublish(t *testing.T, c site, node int) time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range rounds(t, 15, 100) {
		begun := time.Now()
		if _, err := rest(c, node).Publish(within(t, deadline), client.Publication{Channel: "c", Data: i}); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// TestALeaderWithASlowDiskHandsOver, and is not taken for one whose disk hangs.
func TestALeaderWithASlowDiskHandsOver(t *testing.T) {
	lab.NeedTool(t, "strace")
	c := startCluster(t, 3)
	l := startLoad(t, c, 10, 200)
	l.await(200)
	lead := leader(t, c)
	lab.Inject(t, c.PID(lead), "fsync,fdatasync", "delay_exit=200000")
	eventually(t, deadline, func() error {
		status, err := admin(c, (lead+1)%c.Len()).Status(within(t, time.Second))
		if err == nil && (status.Leader == "" || status.Leader == c.Name(lead)) {
			err = fmt.Errorf("%q leads", status.Leader)
		}
		return err
	})
	l.await(200)
	if long() {
		time.Sleep(time.Minute) // it is as slow as a follower
	}
	l.end()
	l.check()
	select {
	case <-c.Exited(lead):
		t.Errorf("the node with the slow disk has ended: %s", lastLine(c.readLog(t, lead)))
	default:
	}
}

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
	for i := range c.Len() {
		lab.Inject(t, c.PID(i), "fsync,fdatasync", fmt.Sprintf("delay_exit=%d", sync.Microseconds()))
	}
	for _, through := range []struct {
		name  string
		node  int
		syncs float64 // within which half of all publishes are acknowledged
	}{{"the leader", lead, 1.5}, {"a follower", (lead + 1) % c.Len(), 2}} {
		var took []time.Duration
		for i := range rounds(t, 15, 100) {
			begun := time.Now()
			if _, err := rest(c, through.node).Publish(within(t, deadline),
				client.Publication{Channel: "c", Data: i}); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		median := took[len(took)/2]
		t.Logf("through %s: acknowledged after %v at the median, %v to %v", through.name,
			median.Round(time.Millisecond), took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
		if limit := time.Duration(through.syncs * float64(sync)); median > limit {
			t.Errorf("through %s a publish is acknowledged after %v at the median, %v is allowed", through.name, median, limit)
		}
	}
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

package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
)

// awaitVoters waits until node 0 sees so many members, all alive, so many of them
// voters.
func awaitVoters(t *testing.T, c site, members, voters int) {
	t.Helper()
	eventually(t, deadline, func() error {
		status, err := admin(c, 0).Status(within(t, deadline))
		if err != nil {
			return err
		}
		vote, alive := 0, 0
		for _, m := range status.Members {
			if m.Voter {
				vote++
			}
			if m.State == "alive" {
				alive++
			}
		}
		if len(status.Members) != members || alive != members || vote != voters {
			return fmt.Errorf("%d of %d members live, %d vote; want %d and %d", alive, len(status.Members), vote, members,
				voters)
		}
		return nil
	})
}

// From one node to six, all started with the same line, and back to five voters
// when one of them is removed.
func TestClusterGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	l := startLoad(t, c, 5, 50)
	for _, voters := range []int{3, 5} {
		for c.Len() < voters {
			i, err := c.Add(bench.Host{IP: "127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Restart(within(t, deadline), i); err != nil {
				t.Fatal(err)
			}
		}
		awaitVoters(t, c, voters, voters)
		l.await(50)
	}
	sixth, err := c.Add(bench.Host{IP: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(within(t, deadline), sixth); err != nil {
		t.Fatal(err)
	}
	awaitVoters(t, c, 6, 5)
	if got := named(t, c, 0, c.Name(sixth)); got[0].Voter {
		t.Errorf("the sixth node is %+v", got[0])
	}
	l.await(50)

	const removed = 1
	if out, code := aptlyd(t, c, 2, "cluster", "remove", c.Name(removed)); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	<-c.Exited(removed)
	if last := lastLine(c.readLog(t, removed)); !strings.Contains(last, "removed from its cluster") {
		t.Errorf("the last line of a removed node is %s", last)
	}
	// Its place among the voters goes to the sixth.
	awaitVoters(t, c, 5, 5)
	if err := c.Restart(within(t, deadline), removed); exitCode(err) != 1 {
		t.Errorf("a removed node starts again: %v", err)
	}
	if err := os.RemoveAll(c.Dir(removed)); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(within(t, deadline), removed); err != nil {
		t.Fatal(err)
	}
	awaitVoters(t, c, 6, 5)
	l.end()
	l.check()
}

func TestCommandLineClusterRemove(t *testing.T) {
	c := startCluster(t, 3)
	if out, code := aptlyd(t, c, 0, "cluster", "remove", "nobody"); code != 1 ||
		!strings.Contains(out, "no member has that name") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := aptlyd(t, c, 0, "cluster", "remove", c.Name(0)); code != 1 ||
		!strings.Contains(out, "ask another one") {
		t.Errorf("a node removes itself: exit code %d: %s", code, out)
	}
	lead := leader(t, c)
	others := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == lead })
	if err := c.Kill(others[0]); err != nil {
		t.Fatal(err)
	}
	if out, code := aptlyd(t, c, lead, "cluster", "remove", c.Name(others[1])); code != 1 ||
		!strings.Contains(out, "would lose its quorum") {
		t.Errorf("a node that the quorum needs: exit code %d: %s", code, out)
	}
	if got := aptlydJSON[map[string]string](t, c, others[1], "cluster", "remove",
		c.Name(others[0])); got["removed"] != c.Name(others[0]) {
		t.Errorf("printed %v", got)
	}
	status := aptlydJSON[client.Status](t, c, others[1], "cluster", "status")
	if len(status.Members) != 2 || status.Cluster == "" || status.Epoch == "" {
		t.Errorf("after it was removed: %+v", status)
	}
	// The clocks of one machine agree, once the leader has heard of them.
	eventually(t, deadline, func() error {
		status, err := admin(c, others[1]).Status(within(t, deadline))
		if err != nil {
			return err
		}
		for _, m := range status.Members {
			if m.ClockOffset == nil {
				return fmt.Errorf("the clock of %s is not known", m.Name)
			}
			if *m.ClockOffset > 1000 || *m.ClockOffset < -1000 {
				t.Fatalf("the clock of %s is %d ms off", m.Name, *m.ClockOffset)
			}
		}
		return nil
	})
}

// awaitAlive waits until node 0 sees so many members alive.
func awaitAlive(t *testing.T, c site, want int) {
	t.Helper()
	eventually(t, deadline, func() error {
		status, err := admin(c, 0).Status(within(t, deadline))
		if err != nil {
			return err
		}
		alive := 0
		for _, m := range status.Members {
			if m.State == "alive" {
				alive++
			}
		}
		if alive != want || status.Leader == "" {
			return fmt.Errorf("%d members live, %q leads", alive, status.Leader)
		}
		return nil
	})
}

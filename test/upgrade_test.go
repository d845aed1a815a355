package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

const (
	nextWaits = "the next command has to wait"
	nextUsed  = "the next command was used"
)

// A cluster is upgraded node by node to a version with one command more. That is
// used when the last old node is gone and not before; and a node that does not know
// it stops rather than go on without it.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	next := filepath.Join(t.TempDir(), "aptlyd-next")
	lab.NeedTool(t, "git")
	if err := lab.Build(next, []string{"next.patch"}, buildFlags()...); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 3)
	l := startLoad(t, c, 5, 100)
	l.await(100)
	restart := func(i int) {
		t.Helper()
		if err := c.Stop(within(t, 15*time.Second), i); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(within(t, deadline), i); err != nil {
			t.Fatal(err)
		}
		awaitVoters(t, c, 3, 3)
		l.await(20)
	}
	awaitLog := func(i int, text string) {
		t.Helper()
		eventually(t, deadline, func() error {
			if !strings.Contains(c.readLog(t, i), text) {
				return fmt.Errorf("%s has not said %q", c.Name(i), text)
			}
			return nil
		})
	}
	c.SetBinary(next)
	for i := range c.Len() {
		if i > 0 && strings.Contains(c.readLog(t, i-1), nextUsed) {
			t.Fatalf("%s uses what %s does not know", c.Name(i-1), c.Name(i))
		}
		restart(i)
		if i < c.Len()-1 {
			awaitLog(i, nextWaits)
		}
	}
	for i := range c.Len() {
		awaitLog(i, nextUsed)
	}
	// Another one is used while a node is away, which then comes back in the old
	// version.
	const away, other = 2, 1
	if err := c.Stop(within(t, 15*time.Second), away); err != nil {
		t.Fatal(err)
	}
	used := strings.Count(c.readLog(t, other), nextUsed)
	if err := c.Stop(within(t, 15*time.Second), other); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(within(t, deadline), other); err != nil {
		t.Fatal(err)
	}
	eventually(t, deadline, func() error {
		if strings.Count(c.readLog(t, other), nextUsed) == used {
			return fmt.Errorf("%s has not used it again", c.Name(other))
		}
		return nil
	})
	c.SetBinary(binary)
	if err := c.Start(away); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Exited(away):
	case <-time.After(deadline):
		t.Fatal("a node goes on that does not know a command")
	}
	if last := lastLine(c.readLog(t, away)); !strings.Contains(last, "unknown op 250") {
		t.Errorf("its last line does not say why: %s", last)
	}
	c.SetBinary(next)
	if err := c.Restart(within(t, deadline), away); err != nil {
		t.Fatal(err)
	}
	l.end()
	l.check()
}

package test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
)

// exitCode returns the code that Ready or Stop says a node ended with, or -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return -1
	}
	return exit.ExitCode()
}

// named returns the members with a name, as node i sees them.
func named(t *testing.T, c site, i int, name string) []client.Member {
	t.Helper()
	s, err := admin(c, i).Status(within(t, deadline))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(s.Members, func(m client.Member) bool { return m.Name != name })
}

func TestWipedNodeComesBackAsANewMember(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	l := startLoad(t, c, 3, 20)
	l.await(50)
	lead := leader(t, c)
	wiped, other := (lead+1)%3, (lead+2)%3
	before := named(t, c, lead, c.Name(wiped))
	if len(before) != 1 {
		t.Fatalf("members named %s: %+v", c.Name(wiped), before)
	}
	if err := c.Kill(wiped); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := os.RemoveAll(c.Dir(wiped)); err != nil {
		t.Fatal(err)
	}
	// Whoever has the name was heard of a moment ago, so it might come back: the node that joins
	// says so and waits.
	awaitRestart(t, c, wiped)
	if log := c.readLog(t, wiped); !strings.Contains(log, "the name of this node is in use") {
		t.Error("nobody was told what the node waits for")
	}
	took := time.Since(killed)
	t.Logf("back after %v", took)
	// The last sign of life may be a moment older than the kill.
	if took < 28*time.Second {
		t.Errorf("a name was taken over %v after its member was last heard of", took)
	}
	eventually(t, deadline, func() error {
		after := named(t, c, lead, c.Name(wiped))
		if len(after) != 1 || !after[0].Voter || after[0].ID == before[0].ID {
			return fmt.Errorf("was %+v, is %+v", before, after)
		}
		return nil
	})
	// It votes: with it the cluster survives the loss of another node.
	if err := c.Kill(other); err != nil {
		t.Fatal(err)
	}
	l.await(50)
	if err := c.Restart(within(t, deadline), other); err != nil {
		t.Fatal(err)
	}
	l.end()
	l.check()
}

// anotherProcess is one that is to run beside the nodes of a cluster, and ends with the test.
func anotherProcess(t *testing.T, c spawned, name, dir, join string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(within(t, 3*deadline), binary, "serve", "--node-name", name, "--data-dir", dir,
		"--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--gossip-listen", "127.0.0.1:0",
		"--advertise", "127.0.0.1", "--bootstrap-expect", "3", "--join", join)
	cmd.Env = append(os.Environ(), "APTLYD_CLUSTER_SECRET="+c.ClusterSecret)
	return cmd
}

func TestSecondProcessOfANode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	mustPublish(t, c, 0, "c", 1)
	status, err := admin(c, 0).Status(within(t, deadline))
	if err != nil {
		t.Fatal(err)
	}
	start := func(name, dir string) (string, int) {
		cmd := anotherProcess(t, c, name, dir, status.Members[0].GossipAddr)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Fatalf("a second process of %s ends as if all were well", name)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := start(c.Name(1), c.Dir(1)); code < 1 || !strings.Contains(out, "another process") {
		t.Errorf("a second process with the same data folder ends with %d: %s", code, out)
	}
	// A second node with the same name waits, and says what for.
	second := anotherProcess(t, c, c.Name(1), filepath.Join(t.TempDir(), "copy"), status.Members[0].GossipAddr)
	said, err := second.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(said); ; {
		if !lines.Scan() {
			t.Fatalf("a second node with the same name ends: %v", second.Wait())
		}
		if strings.Contains(lines.Text(), "the name of this node is in use") &&
			strings.Contains(lines.Text(), "--node-name") {
			break
		}
	}
	_ = second.Process.Kill()
	_ = second.Wait() // killed
	// A node that was moved with its folder is itself, but only one of the two is.
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(c.Dir(1))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(copied, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, code := start(c.Name(1), copied); code != 2 || !strings.Contains(lastLine(out), "already runs elsewhere") {
		t.Errorf("a copy of a node that runs ends with %d: %s", code, out)
	}
	// The first ones took no notice.
	for i := range c.Len() {
		mustPublish(t, c, i, "c", 2)
		if members := named(t, c, i, c.Name(1)); len(members) != 1 {
			t.Errorf("%s sees %+v", c.Name(i), members)
		}
	}
}

// A node is stopped, its data folder is copied, and both are started: the process that
// starts second ends and names the other one.
func TestCopyOfAStoppedNode(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"original first", "copy first"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3)
			mustPublish(t, c, 0, "c", 1)
			status, err := admin(c, 0).Status(within(t, deadline))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Stop(within(t, deadline), 1); err != nil {
				t.Fatal(err)
			}
			folders := []string{c.Dir(1), filepath.Join(t.TempDir(), "copy")}
			if err := os.CopyFS(folders[1], os.DirFS(folders[0])); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(folders[1], 0o700); err != nil {
				t.Fatal(err)
			}
			if order == "copy first" {
				slices.Reverse(folders)
			}
			start := func(dir string) *exec.Cmd { return anotherProcess(t, c, c.Name(1), dir, status.Members[0].GossipAddr) }
			first := start(folders[0])
			said, err := first.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = first.Process.Kill()
				_ = first.Wait() // killed
			})
			for lines := bufio.NewScanner(said); ; {
				if !lines.Scan() {
					t.Fatal("the first process ends")
				}
				if strings.Contains(lines.Text(), "serving clients") {
					break
				}
			}
			second := start(folders[1])
			out, _ := second.CombinedOutput()
			var address string
			eventually(t, deadline, func() error {
				members := named(t, c, 0, c.Name(1))
				if len(members) != 1 {
					return fmt.Errorf("members: %+v", members)
				}
				address = members[0].PeerAddr
				return nil
			})
			last := lastLine(string(out))
			if code := second.ProcessState.ExitCode(); code != 2 ||
				!strings.Contains(last, "this node already runs elsewhere") || !strings.Contains(last, address) {
				t.Errorf("the second process ends with %d: %s; the first one is at %s", code, out, address)
			}
			mustPublish(t, c, 0, "c", 2)
		})
	}
}

func TestNodeOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	env := []string{"APTLYD_CLUSTER_SECRET=a secret that two clusters share"}
	knocked := spawn(t, bench.SpawnOptions{Nodes: 3, Binary: binary, Dir: t.TempDir(), Env: env})
	other := spawn(t, bench.SpawnOptions{Nodes: 1, Binary: binary, Dir: t.TempDir(), Env: env})
	mustPublish(t, other, 0, "c", 1)
	if err := other.Stop(within(t, deadline), 0); err != nil {
		t.Fatal(err)
	}
	before, err := admin(knocked, 0).Status(within(t, deadline))
	if err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, knocked, 5, 200)
	l.await(100)
	cmd := exec.CommandContext(within(t, deadline), binary, "serve", "--node-name", "stray", "--data-dir", other.Dir(0),
		"--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--gossip-listen", "127.0.0.1:0",
		"--advertise", "127.0.0.1", "--join", before.Members[1].GossipAddr)
	cmd.Env = append(os.Environ(), env...)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 2 ||
		!strings.Contains(lastLine(string(out)), "belongs to another cluster") {
		t.Errorf("a node of another cluster ends with %d: %s", code, out)
	}
	l.await(200)
	l.end()
	l.check()
	for i := range knocked.Len() {
		after, err := admin(knocked, i).Status(within(t, deadline))
		if err != nil {
			t.Fatal(err)
		}
		if after.Leader != before.Leader || len(after.Members) != len(before.Members) {
			t.Errorf("%s: was %+v, is %+v", knocked.Name(i), before, after)
		}
	}
	// It took no harm either.
	if err := other.Restart(within(t, deadline), 0); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, other, 0, "c", 2)
}

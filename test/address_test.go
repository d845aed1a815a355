package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// hostNode is a node on a host of a network, started as an operator would who names
// as little as possible.
type hostNode struct {
	host   *lab.Host
	log    string // path of a file
	exited chan struct{}
	err    error
	stop   func()
}

const hostAdminToken = "the admin token of the hosts"

// startOnHost starts a node until the test ends.
func startOnHost(t *testing.T, h *lab.Host, name string, args ...string) *hostNode {
	t.Helper()
	return startWith(t, nil, h, name, args...)
}

// startWith is startOnHost with a DNS, nil for none.
func startWith(t *testing.T, dns *lab.DNS, h *lab.Host, name string, args ...string) *hostNode {
	t.Helper()
	dir := t.TempDir()
	n := &hostNode{host: h, log: filepath.Join(dir, "log"), exited: make(chan struct{})}
	log, err := os.Create(n.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own descriptor
	line := append([]string{binary, "serve", "--node-name", name, "--data-dir", filepath.Join(dir, "data")}, args...)
	if dns != nil {
		line = dns.Command(line...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "APTLYD_CLUSTER_SECRET=a secret between the nodes of a test",
		"APTLYD_ADMIN_TOKEN="+hostAdminToken)
	cmd.Stdout, cmd.Stderr = log, log
	started := make(chan error, 1)
	go func() {
		defer close(n.exited)
		runtime.LockOSThread() // see lab.Host.Enter
		err := h.Enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			n.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	n.stop = func() {
		_ = cmd.Process.Kill() // it may have ended
		<-n.exited
	}
	t.Cleanup(func() {
		n.stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, n.read(t))
		}
	})
	return n
}

// read returns what the node has logged so far.
func (n *hostNode) read(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(n.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// admin returns the admin API of the node, from inside its host.
func (n *hostNode) admin() *client.Admin {
	return &client.Admin{
		BaseURL: "http://" + net.JoinHostPort(n.host.IP, "8080"), Token: hostAdminToken,
		HTTP: &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
				return n.host.Dial(network, address)
			},
		}},
	}
}

// awaitHosts waits until the nodes are one cluster of voters, each known at the address
// of its host.
func awaitHosts(t *testing.T, nodes []*hostNode) {
	t.Helper()
	want := make(map[string]bool)
	for _, n := range nodes {
		want[net.JoinHostPort(n.host.IP, "7400")] = true
	}
	awaitMembers(t, nodes, want)
}

// awaitMembers waits until the nodes are one cluster of voters with these peer addresses.
func awaitMembers(t *testing.T, nodes []*hostNode, want map[string]bool) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, deadline, func() error {
			status, err := n.admin().Status(within(t, deadline))
			if err != nil {
				return err
			}
			if len(status.Members) != len(nodes) {
				return fmt.Errorf("members %+v", status.Members)
			}
			for _, m := range status.Members {
				if !want[m.PeerAddr] || !m.Voter {
					return fmt.Errorf("members %+v, want %v", status.Members, want)
				}
			}
			return nil
		})
	}
}

// Nodes of three hosts find each other with --join alone, whatever addresses they have.
func TestNodesFindTheirAddresses(t *testing.T) {
	t.Parallel()
	public := func(host int) string { return fmt.Sprintf("203.0.113.%d/24", host) }
	for name, c := range map[string]struct {
		address func(host int) string
		docker  bool
	}{
		"public addresses":           {public, false},
		"public and docker":          {public, true},
		"unique local IPv6 only":     {func(host int) string { return fmt.Sprintf("fd00:db8::%x/64", host) }, false},
		"unique local and docker":    {func(host int) string { return fmt.Sprintf("fd00:db8::%x/64", host) }, true},
		"private addresses, as ever": {func(host int) string { return fmt.Sprintf("10.9.8.%d/24", host) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := lab.NewIsland(t, 3, c.address).Hosts
			var join []string
			for _, h := range hosts {
				if c.docker {
					h.AddBridge("docker0", "172.17.0.1/16")
				}
				join = append(join, net.JoinHostPort(h.IP, "7401"))
			}
			var nodes []*hostNode
			for i, h := range hosts {
				line := strings.Join(join, ",") // the same on all
				if i == 1 {
					line = join[0] // or the first alone
				}
				nodes = append(nodes, startOnHost(t, h, fmt.Sprint("n", i+1), "--bootstrap-expect", "3", "--join", line))
			}
			awaitHosts(t, nodes)
		})
	}
}

// A node that cannot know its address does not guess: it ends with 2, and names the flag.
func TestNodeWithoutAnAddressForOthers(t *testing.T) {
	t.Parallel()
	hosts := lab.NewIsland(t, 1, func(host int) string { return fmt.Sprintf("203.0.113.%d/24", host) }).Hosts
	hosts[0].AddBridge("docker0", "172.17.0.1/16")
	for name, args := range map[string][]string{
		"the first of three":          {"--bootstrap-expect", "3"},
		"a container of its own host": {"--bootstrap-expect", "3", "--join", "172.17.0.2:7401"},
		"its own docker bridge":       {"--bootstrap-expect", "3", "--join", "172.17.0.1:7401"},
		"no route":                    {"--bootstrap-expect", "3", "--join", "198.51.100.1:7401"},
	} {
		n := startOnHost(t, hosts[0], "n1", args...)
		select {
		case <-n.exited:
		case <-within(t, deadline).Done():
			t.Fatalf("%s: it goes on", name)
		}
		var exit *exec.ExitError
		last := lastLine(n.read(t))
		if !errors.As(n.err, &exit) || exit.ExitCode() != 2 || !strings.Contains(last, "aptlyd: advertise: ") {
			t.Errorf("%s: it ends with %v: %s", name, n.err, last)
		}
		t.Logf("%s: %s", name, last)
	}
	// With the flag, and alone as ever, it runs.
	for name, args := range map[string][]string{
		"with the flag": {"--bootstrap-expect", "1", "--advertise", "203.0.113.1"},
		"alone":         {},
	} {
		n := startOnHost(t, hosts[0], strings.Fields(name)[0], args...)
		eventually(t, deadline, func() error {
			_, err := n.admin().Status(within(t, deadline))
			return err
		})
		n.stop()
	}
}

// Names may come into DNS after the nodes have started, as those of pods do: a node's own
// and the others'.
func TestNamesComeIntoDNSLate(t *testing.T) {
	t.Parallel()
	for name, advertise := range map[string]bool{"advertised names": true, "names to join": false} {
		t.Run(name, func(t *testing.T) {
			hosts := lab.NewIsland(t, 3, func(host int) string { return fmt.Sprintf("203.0.113.%d/24", host) }).Hosts
			dns := lab.NewDNS(t, hosts...)
			var nodes []*hostNode
			for i, h := range hosts {
				args := []string{"--bootstrap-expect", "3", "--join", "n1.late.test:7401,n2.late.test:7401,n3.late.test:7401"}
				if advertise {
					args = append(args, "--advertise", fmt.Sprintf("n%d.late.test", i+1))
				}
				nodes = append(nodes, startWith(t, dns, h, fmt.Sprint("n", i+1), args...))
			}
			for _, n := range nodes {
				eventually(t, deadline, func() error {
					if log := n.read(t); !strings.Contains(log, "in DNS yet") {
						return fmt.Errorf("it does not say what it waits for:\n%s", log)
					}
					return nil
				})
			}
			for i, h := range hosts {
				dns.Set(fmt.Sprintf("n%d.late.test", i+1), h.IP)
			}
			want := make(map[string]bool)
			for i, h := range hosts {
				if advertise {
					want[fmt.Sprintf("n%d.late.test:7400", i+1)] = true
				} else {
					want[h.IP+":7400"] = true
				}
			}
			awaitMembers(t, nodes, want)
		})
	}
}

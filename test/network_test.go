package test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network is a cluster of which every node has a network of its own, joined to a
// bridge by a link that can be cut. The tests sit on the bridge.
type network struct {
	nodes  []*host
	secret keys
}

// host is one node and the network namespace that it runs in.
type host struct {
	name      string
	namespace string
	link      string // the bridge's end
	ip        string
}

// Ports of every node. They are its own: so is its network.
const (
	clientPort = "8080"
	peerPort   = "7400"
	gossipPort = "7401"
)

func (n *network) Len() int          { return len(n.nodes) }
func (n *network) Name(i int) string { return n.nodes[i].name }
func (n *network) Addr(i int) string { return net.JoinHostPort(n.nodes[i].ip, clientPort) }
func (n *network) keys() keys        { return n.secret }

func (n *network) Servers() (urls []string) {
	for i := range n.nodes {
		urls = append(urls, "ws://"+n.Addr(i))
	}
	return urls
}

// startNetwork starts three nodes and waits until all are ready. All ends with
// the test.
func startNetwork(t *testing.T) *network {
	t.Helper()
	needRoot(t)
	needTool(t, "ip")
	var random [2]byte
	rand.Read(random[:])
	bridge := "apt" + hex.EncodeToString(random[:])
	// 198.18.0.0/15 is for tests of networks (RFC 2544).
	subnet := fmt.Sprintf("198.18.%d.", random[0])
	guard(t, `ip link del "$1"`, bridge)
	if out, err := exec.Command("ip", "link", "add", bridge, "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: networks cannot be made here: %s", out)
	}
	run(t, "ip", "addr", "add", subnet+"254/24", "dev", bridge)
	run(t, "ip", "link", "set", bridge, "up")

	mint := startCluster(t, 1) // its keys will do for another cluster
	n := &network{secret: mint.keys()}
	if err := mint.Close(); err != nil {
		t.Fatal(err)
	}
	var join []string
	for i := range 3 {
		h := &host{
			name:      fmt.Sprintf("n%d", i+1),
			namespace: fmt.Sprintf("%s-%d", bridge, i+1),
			link:      fmt.Sprintf("%s.%d", bridge, i+1),
			ip:        fmt.Sprintf("%s%d", subnet, i+1),
		}
		n.nodes = append(n.nodes, h)
		join = append(join, net.JoinHostPort(h.ip, gossipPort))
		guard(t, `ip netns del "$1"`, h.namespace)
		run(t, "ip", "netns", "add", h.namespace)
		run(t, "ip", "link", "add", h.link, "type", "veth", "peer", "name", "eth0", "netns", h.namespace)
		run(t, "ip", "link", "set", h.link, "master", bridge, "up")
		run(t, "ip", "-n", h.namespace, "addr", "add", h.ip+"/24", "dev", "eth0")
		run(t, "ip", "-n", h.namespace, "link", "set", "lo", "up")
		run(t, "ip", "-n", h.namespace, "link", "set", "eth0", "up")
	}
	dir := t.TempDir()
	for _, h := range n.nodes {
		h.start(t, dir, n.secret, join)
	}
	for i := range n.nodes {
		eventually(t, deadline, func() error {
			if got := status(within(t, time.Second), n, i, "/readyz"); got != 200 {
				return fmt.Errorf("/readyz of %s answers %d", n.Name(i), got)
			}
			return nil
		})
	}
	return n
}

// start starts the node inside its namespace, until the test ends.
func (h *host) start(t *testing.T, dir string, secret keys, join []string) {
	t.Helper()
	path := filepath.Join(dir, h.name+".log")
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve",
		"--node-name", h.name,
		"--data-dir", filepath.Join(dir, h.name),
		"--listen", ":"+clientPort,
		"--peer-listen", ":"+peerPort,
		"--gossip-listen", net.JoinHostPort(h.ip, gossipPort),
		"--advertise", h.ip,
		"--join", strings.Join(join, ","),
		"--bootstrap-expect", "3")
	cmd.Env = append(os.Environ(),
		"APTLYD_CLUSTER_SECRET=a secret between the nodes of a test",
		"APTLYD_ADMIN_TOKEN="+secret.admin,
		"APTLYD_BOOTSTRAP_PUBLIC_KEY="+secret.public,
		"APTLYD_BOOTSTRAP_SERVER_KEY="+secret.server)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := errors.Join(h.inside(cmd.Start), log.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			text, err := os.ReadFile(path)
			t.Logf("log of %s (%v):\n%s", h.name, err, text)
		}
	})
}

// inside calls f on a thread that is in the host's namespace, as are the sockets
// and processes that f makes.
func (h *host) inside(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked, so the thread ends with the goroutine.
		runtime.LockOSThread()
		namespace, err := os.Open(filepath.Join("/run/netns", h.namespace))
		if err != nil {
			result <- err
			return
		}
		defer namespace.Close()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter %s: %w", h.namespace, err)
			return
		}
		result <- f()
	}()
	return <-result
}

// cut takes the host's link down; mend brings it up.
func (h *host) cut(t *testing.T) {
	t.Helper()
	run(t, "ip", "link", "set", h.link, "down")
}

func (h *host) mend(t *testing.T) {
	t.Helper()
	run(t, "ip", "link", "set", h.link, "up")
}

// door returns an address of this machine that leads to the host's client port
// from inside, whatever becomes of its link.
func (h *host) door(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			outside, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer outside.Close()
				var inside net.Conn
				err := h.inside(func() (err error) {
					inside, err = net.Dial("tcp", net.JoinHostPort("127.0.0.1", clientPort))
					return err
				})
				if err != nil {
					return
				}
				defer inside.Close()
				defer context.AfterFunc(ctx, func() {
					outside.Close()
					inside.Close()
				})()
				running.Go(func() {
					io.Copy(inside, outside) // however it ends, so does the connection
					inside.Close()
				})
				io.Copy(outside, inside)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		running.Wait()
	})
	return l.Addr().String()
}

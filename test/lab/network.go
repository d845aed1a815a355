package lab

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is a bridge with hosts on it. The test sits on the bridge, unless the
// addresses of the hosts are given.
type Network struct {
	t       testing.TB
	bridge  string
	address func(host int) string // with the length of the prefix
	Hosts   []*Host
}

// Host is a network namespace, joined to the bridge by a link that can be cut.
type Host struct {
	t         testing.TB
	namespace string
	link      string // the bridge's end
	IP        string

	mu     sync.Mutex
	broken map[string]int // how many faults each broken thing is under, by what it is
}

// NewNetwork makes a network of n hosts, until the test ends.
func NewNetwork(t testing.TB, n int) *Network {
	t.Helper()
	network := newBridge(t)
	var random [2]byte
	rand.Read(random[:])
	// 198.18.0.0/15 is for tests of networks (RFC 2544).
	network.address = func(host int) string { return fmt.Sprintf("198.%d.%d.%d/24", 18+random[1]%2, random[0], host) }
	Run(t, "ip", "addr", "add", network.address(254), "dev", network.bridge)
	for range n {
		network.addHost()
	}
	return network
}

// NewIsland makes a network of n hosts whose addresses the test chooses, until the
// test ends. Nobody else is on it, so islands may have the same addresses; the test
// reaches a host with Dial.
func NewIsland(t testing.TB, n int, address func(host int) string) *Network {
	t.Helper()
	network := newBridge(t)
	network.address = address
	for range n {
		network.addHost()
	}
	return network
}

func newBridge(t testing.TB) *Network {
	t.Helper()
	NeedNetworks(t)
	var random [3]byte
	rand.Read(random[:])
	network := &Network{t: t, bridge: "apt" + hex.EncodeToString(random[:])}
	Guard(t, `ip link del "$1"`, network.bridge)
	Run(t, "ip", "link", "add", network.bridge, "type", "bridge")
	Run(t, "ip", "link", "set", network.bridge, "up")
	return network
}

func (n *Network) addHost() {
	n.t.Helper()
	number := len(n.Hosts) + 1
	h := &Host{
		t:         n.t,
		namespace: fmt.Sprintf("%s-%d", n.bridge, number),
		link:      fmt.Sprintf("%s.%d", n.bridge, number),
		broken:    make(map[string]int),
	}
	address := n.address(number)
	h.IP, _, _ = strings.Cut(address, "/")
	n.Hosts = append(n.Hosts, h)
	Guard(n.t, `ip netns del "$1"`, h.namespace)
	Run(n.t, "ip", "netns", "add", h.namespace)
	Run(n.t, "ip", "link", "add", h.link, "type", "veth", "peer", "name", "eth0", "netns", h.namespace)
	Run(n.t, "ip", "link", "set", h.link, "master", n.bridge, "up")
	Run(n.t, "ip", "-n", h.namespace, "addr", "add", address, "dev", "eth0", "nodad")
	Run(n.t, "ip", "-n", h.namespace, "link", "set", "lo", "up")
	Run(n.t, "ip", "-n", h.namespace, "link", "set", "eth0", "up")
}

// AddBridge gives the host a bridge that only containers of its own would be on.
func (h *Host) AddBridge(name, address string) {
	h.t.Helper()
	Run(h.t, "ip", "-n", h.namespace, "link", "add", name, "type", "bridge")
	Run(h.t, "ip", "-n", h.namespace, "addr", "add", address, "dev", name)
	Run(h.t, "ip", "-n", h.namespace, "link", "set", name, "up")
}

// Enter moves the calling thread into the host's namespace: what sockets and
// processes it makes from then on are there. The thread should end with its
// goroutine, so whoever calls this locks it and never unlocks it.
func (h *Host) Enter() error {
	namespace, err := os.Open(filepath.Join("/run/netns", h.namespace))
	if err != nil {
		return err
	}
	defer namespace.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", h.namespace, err)
	}
	return nil
}

// Dial connects from inside the host, whatever becomes of its link.
func (h *Host) Dial(network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // see Enter
		var r result
		if r.err = h.Enter(); r.err == nil {
			r.conn, r.err = net.Dial(network, address)
		}
		dialled <- r
	}()
	r := <-dialled
	return r.conn, r.err
}

// Cut takes the host's link down. What is broken twice, here as below, is whole when it was
// mended twice.
func (h *Host) Cut() {
	h.t.Helper()
	h.breakThing("link", "link", "set", h.link, "down")
}

// Mend brings the host's link up.
func (h *Host) Mend() {
	h.t.Helper()
	h.mendThing("link", "link", "set", h.link, "up")
}

// Mute loses, silently, all that the host sends to another. What the other sends
// still arrives.
func (h *Host) Mute(other *Host) {
	h.t.Helper()
	h.breakThing("neighbour "+other.IP,
		"-n", h.namespace, "neigh", "replace", other.IP, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")
}

// Unmute ends what Mute began.
func (h *Host) Unmute(other *Host) {
	h.t.Helper()
	h.mendThing("neighbour "+other.IP, "-n", h.namespace, "neigh", "del", other.IP, "dev", "eth0")
}

// Refuse makes whatever the host sends to another fail at once.
func (h *Host) Refuse(other *Host) {
	h.t.Helper()
	h.breakThing("route "+other.IP, "-n", h.namespace, "route", "add", "blackhole", other.IP+"/32")
}

// Unrefuse ends what Refuse began.
func (h *Host) Unrefuse(other *Host) {
	h.t.Helper()
	h.mendThing("route "+other.IP, "-n", h.namespace, "route", "del", "blackhole", other.IP+"/32")
}

// breakThing runs ip with args, unless the thing is broken already.
func (h *Host) breakThing(thing string, args ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken[thing]++; h.broken[thing] == 1 {
		h.ip(args)
	}
}

// mendThing runs ip with args, unless the thing stays broken.
func (h *Host) mendThing(thing string, args ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken[thing]--; h.broken[thing] == 0 {
		h.ip(args)
	}
}

// ip runs ip, from whatever goroutine.
func (h *Host) ip(args []string) {
	h.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		h.t.Errorf("ip %v: %v\n%s", args, err, out)
	}
}

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"time"
)

// hostNetwork is the part of this machine's network that the choice of an address needs.
type hostNetwork struct {
	// addresses returns the addresses of all interfaces, in the system's order.
	addresses func() ([]interfaceAddress, error)
	lookUp    func(ctx context.Context, host string) ([]netip.Addr, error)
	// source returns the address from which packets to another one leave. It sends none.
	source func(to netip.Addr) (netip.Addr, error)
}

type interfaceAddress struct {
	link string
	addr netip.Addr
}

func thisHost() hostNetwork {
	return hostNetwork{
		addresses: interfaceAddresses,
		lookUp: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		source: sourceAddress,
	}
}

func interfaceAddresses() ([]interfaceAddress, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []interfaceAddress
	for _, link := range links {
		addrs, err := link.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if addr, ok := netip.AddrFromSlice(n.IP); ok {
					all = append(all, interfaceAddress{link.Name, addr.Unmap()})
				}
			}
		}
	}
	return all, nil
}

// sourceAddress connects a UDP socket, which makes the kernel look up the route and sends
// nothing.
func sourceAddress(to netip.Addr) (netip.Addr, error) {
	const anyPort = 9
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, anyPort)))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("%v is no address of UDP", conn.LocalAddr())
	}
	return local.AddrPort().Addr().Unmap().WithZone(""), nil
}

// hostOnlyBridge matches the bridges between this host and its containers or virtual
// machines. No other host reaches an address on them.
var hostOnlyBridge = regexp.MustCompile(
	`^(docker|podman|cni|virbr|lxcbr|lxdbr|incusbr)[0-9]|^br-[0-9a-f]{12}$|^docker_gwbridge$`)

const (
	// resolveTimeout bounds the wait at start for names that DNS may learn late.
	resolveTimeout     = 30 * time.Second
	resolvePause       = 500 * time.Millisecond
	resolveLogInterval = 10 * time.Second
)

// errNotResolved says that DNS knows no name of --join.
var errNotResolved = errors.New("none of the names is in DNS")

// chooseAdvertise returns the address at which the other nodes reach this one, if the
// operator names none:
//
//	--peer-listen names one address        that
//	--join names an address of this host   that: the others have the same line
//	--join names other hosts               the source address of the route to the first
//	neither                                the first private address, else loopback
//
// An error is a *ConfigError where the choice is the operator's.
func chooseAdvertise(ctx context.Context, c *Config, host hostNetwork) (string, error) {
	listen, _, err := net.SplitHostPort(c.PeerListen)
	if ip := net.ParseIP(listen); err == nil && listen != "" && (ip == nil || !ip.IsUnspecified()) {
		return listen, nil
	}
	own, err := host.addresses()
	if err != nil {
		return "", &ConfigError{
			"advertise",
			fmt.Sprintf("this machine's addresses cannot be read (%v), so name the one at which the others reach it", err),
		}
	}
	peers, err := resolveJoin(ctx, c, host, own)
	if err != nil {
		return "", err
	}
	if len(peers) == 0 {
		return ownAddress(c, own)
	}
	return routeAddress(peers, host, own)
}

// resolveJoin returns the addresses that --join names, in their order and without loopback
// ones. If DNS knows no name yet, it waits, unless this host has a private address.
func resolveJoin(ctx context.Context, c *Config, host hostNetwork, own []interfaceAddress) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	var said time.Time
	for {
		peers, failed := lookUpJoin(ctx, c.Join, host)
		if len(peers) > 0 || len(failed) == 0 {
			return peers, nil
		}
		if _, private := firstPrivate(own); private {
			return nil, nil
		}
		if time.Since(said) > resolveLogInterval {
			said = time.Now()
			c.Logger.Warn("no name of --join is in DNS yet, so this node does not know at which address "+
				"the others reach it; --advertise would say it",
				"join", c.Join, "err", errors.Join(failed...))
		}
		select {
		case <-time.After(resolvePause):
		case <-ctx.Done():
			return nil, fmt.Errorf("choose the address to advertise: %w within %v: %w", errNotResolved, resolveTimeout,
				errors.Join(failed...))
		}
	}
}

func lookUpJoin(ctx context.Context, join []string, host hostNetwork) (peers []netip.Addr, failed []error) {
	for _, seed := range join {
		name, _, err := net.SplitHostPort(seed)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		found := []netip.Addr{}
		if addr, err := netip.ParseAddr(name); err == nil {
			found = append(found, addr)
		} else if found, err = host.lookUp(ctx, name); err != nil {
			failed = append(failed, err)
			continue
		}
		for _, addr := range found {
			if addr = addr.Unmap(); !addr.IsLoopback() {
				peers = append(peers, addr)
			}
		}
	}
	return peers, failed
}

// routeAddress returns an address of this host that peers name, or the source address of
// packets to them.
func routeAddress(peers []netip.Addr, host hostNetwork, own []interfaceAddress) (string, error) {
	for _, peer := range peers {
		for _, a := range own {
			if a.addr == peer.WithZone("") && !hostOnlyBridge.MatchString(a.link) {
				return a.addr.String(), nil
			}
		}
	}
	var why string
	for _, peer := range peers {
		from, err := host.source(peer)
		switch link := linkOf(from, own); {
		case err != nil:
			why = fmt.Sprintf("there is no route to %s (%v)", peer, err)
		case from.IsLoopback() || from.IsLinkLocalUnicast():
			why = fmt.Sprintf("packets to %s leave from %s, where no other host reaches this one", peer, from)
		case hostOnlyBridge.MatchString(link):
			why = fmt.Sprintf("packets to %s leave from %s on %s, a bridge that only containers of this host are on", peer, from,
				link)
		default:
			return from.String(), nil
		}
	}
	return "", &ConfigError{"advertise", why + ": name the address at which the other nodes reach this one"}
}

func linkOf(addr netip.Addr, own []interfaceAddress) string {
	for _, a := range own {
		if a.addr == addr {
			return a.link
		}
	}
	return ""
}

// ownAddress chooses without knowing another host. It refuses to guess an address that only
// this host reaches if the node expects others.
func ownAddress(c *Config, own []interfaceAddress) (string, error) {
	if addr, found := firstPrivate(own); found {
		return addr.String(), nil
	}
	if c.BootstrapExpect > 1 && !joinsLoopback(c.Join) {
		return "", &ConfigError{
			"advertise",
			"this host has no private address, and --join names no other host: " +
				"name the address at which the other nodes reach this one",
		}
	}
	for _, a := range own {
		if a.addr.IsPrivate() {
			return a.addr.String(), nil
		}
	}
	return "127.0.0.1", nil
}

// firstPrivate returns the first private address that other hosts can reach: IPv4 (RFC
// 1918), or else unique local (RFC 4193).
func firstPrivate(own []interfaceAddress) (first netip.Addr, found bool) {
	for _, a := range own {
		if !a.addr.IsPrivate() || hostOnlyBridge.MatchString(a.link) {
			continue
		}
		if a.addr.Is4() {
			return a.addr, true
		}
		if !found {
			first, found = a.addr, true
		}
	}
	return first, found
}

// joinsLoopback reports whether a node joins others and all of them run on this machine.
func joinsLoopback(join []string) bool {
	for _, seed := range join {
		host, _, err := net.SplitHostPort(seed)
		if err != nil || !isLoopback(host) {
			return false
		}
	}
	return len(join) > 0
}

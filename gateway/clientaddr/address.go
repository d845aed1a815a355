// Package clientaddr finds the address and host of a client that may be behind proxies, by
// X-Forwarded headers and by the PROXY protocol, and counts sockets by address. It knows
// nothing of the gateway.
package clientaddr

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the proxies in front of a node that may say which client they speak for.
type Proxies struct {
	Trusted []netip.Prefix
	PROXY   bool // their connections begin with a header of the PROXY protocol
	// Hosts are the names, maybe with a port, under which clients reach the node. With
	// none it answers for every name.
	Hosts []string
}

// Trust reports whether an address is that of a trusted proxy.
func (p *Proxies) Trust(address string) bool {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, prefix := range p.Trusted {
		if prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// Announce reports whether a connection from an address begins with a header of the PROXY
// protocol.
func (p *Proxies) Announce(from netip.Addr) bool { return p.PROXY && p.Trust(from.String()) }

// Client returns the address of the client behind a connection from address. It is the
// nearest one in the X-Forwarded-For headers that is not a trusted proxy.
func (p *Proxies) Client(address string, forwarded []string) string {
	if !p.Trust(address) {
		return address
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for _, text := range slices.Backward(hops) {
		hop, ok := parseHop(text)
		if !ok {
			break
		}
		if address = hop; !p.Trust(address) {
			break
		}
	}
	return address
}

// Host returns the host that the client has asked for: the Host header, or the one before
// a trusted proxy, which says it in X-Forwarded-Host. The first one in that list is the
// one that the client sent to the first of several proxies. It is "" where the node does
// not answer for that host.
func (p *Proxies) Host(address, host string, forwarded []string) string {
	if first := First(forwarded); first != "" && IsHost(first) && p.Trust(address) {
		host = first
	}
	if !p.answersFor(host) {
		return ""
	}
	return host
}

// RequestClient returns the address of the client that sent a request.
func (p *Proxies) RequestClient(r *http.Request) string {
	return p.Client(HostOf(r.RemoteAddr), r.Header.Values("X-Forwarded-For"))
}

// RequestHost returns the host that the client of a request has asked for.
func (p *Proxies) RequestHost(r *http.Request) string {
	return p.Host(HostOf(r.RemoteAddr), r.Host, r.Header.Values("X-Forwarded-Host"))
}

// AnswersFor reports whether a request asks for a host that the node answers for.
func (p *Proxies) AnswersFor(r *http.Request) bool {
	return len(p.Hosts) == 0 || p.RequestHost(r) != ""
}

// First returns the first item of comma-separated lists.
func First(lists []string) string {
	first, _, _ := strings.Cut(strings.Join(lists, ","), ",")
	return strings.TrimSpace(first)
}

// IsHost reports whether a Host header has only bytes that host names, addresses and ports
// are written with.
func IsHost(host string) bool {
	for _, b := range []byte(host) {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && !(b >= '0' && b <= '9') && strings.IndexByte("-._:[]%~", b) < 0 {
			return false
		}
	}
	return true
}

// Network returns the address that a limit per address counts. An IPv6 host is given a /64
// to choose its addresses from (RFC 4291 section 2.5.4), so that counts as one.
func Network(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return network.Addr()
}

// NetworkOf is Network for an address as text.
func NetworkOf(address string) string {
	if strings.IndexByte(address, ':') < 0 {
		return address
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	return Network(addr).String()
}

// HostOf returns the address of a host and port, in the form in which addresses are
// compared.
func HostOf(hostPort string) string {
	if pair, err := netip.ParseAddrPort(hostPort); err == nil {
		return pair.Addr().Unmap().String()
	}
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	return host
}

// Of returns the address at the other end of a socket.
func Of(socket net.Conn) netip.Addr {
	if tcp, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// parseHop reads one entry of X-Forwarded-For, with or without a port.
func parseHop(text string) (string, bool) {
	text = strings.TrimSpace(text)
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return addr.Unmap().String(), true
	}
	if pair, err := netip.ParseAddrPort(text); err == nil {
		return pair.Addr().Unmap().String(), true
	}
	return "", false
}

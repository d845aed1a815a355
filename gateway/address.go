package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// clientAddress is the address of the client that a request comes from, whose
// X-Forwarded-For headers are given: the nearest one that is not a trusted proxy.
func (s *Server) clientAddress(address string, forwarded []string) string {
	if !s.trusted(address) {
		return address
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, ok := parseHop(hops[i])
		if !ok {
			break
		}
		if address = hop; !s.trusted(address) {
			break
		}
	}
	return address
}

// clientHost is the host that the client has asked: the Host header, or what a trusted
// proxy says in X-Forwarded-Host that it was before. The first one in the list is what
// the client sent to the first of several proxies.
func (s *Server) clientHost(address, host string, forwarded []string) string {
	first := firstOf(forwarded)
	if first == "" || !isPlainHost(first) || !s.trusted(address) {
		return host
	}
	return first
}

// firstOf returns the first item of comma-separated lists.
func firstOf(lists []string) string {
	first, _, _ := strings.Cut(strings.Join(lists, ","), ",")
	return strings.TrimSpace(first)
}

func (s *Server) requestHost(r *http.Request) string {
	return s.clientHost(hostOf(r.RemoteAddr), r.Host, r.Header.Values("X-Forwarded-Host"))
}

func (s *Server) requestAddress(r *http.Request) string {
	return s.clientAddress(hostOf(r.RemoteAddr), r.Header.Values("X-Forwarded-For"))
}

// proxied reports whether a connection from an address begins with a header of the
// PROXY protocol.
func (s *Server) proxied(from netip.Addr) bool {
	return s.cfg.ProxyProtocol && s.trusted(from.String())
}

func (s *Server) trusted(address string) bool {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, prefix := range s.cfg.TrustedProxies {
		if prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// networkOf is whom a limit per address counts: an IPv6 host is given a /64 to
// choose its addresses from (RFC 4291 section 2.5.4).
func networkOf(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return network.Addr()
}

// network is networkOf for an address as text.
func network(address string) string {
	if strings.IndexByte(address, ':') < 0 {
		return address
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	return networkOf(addr).String()
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

// hostOf is the address of a host and port, in the form in which addresses are
// compared.
func hostOf(hostPort string) string {
	if pair, err := netip.ParseAddrPort(hostPort); err == nil {
		return pair.Addr().Unmap().String()
	}
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	return host
}

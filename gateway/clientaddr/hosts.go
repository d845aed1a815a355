package clientaddr

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// CheckName returns what is wrong with a name of Proxies.Hosts: a host name, maybe with a
// port.
func CheckName(name string) error {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		host, port = name, "0"
	}
	if _, wrong := strconv.ParseUint(port, 10, 16); wrong != nil || host == "" || !IsHost(host) ||
		strings.ContainsAny(host, ":[]%~") {
		return fmt.Errorf("%q is not a host name, such as rt.example.com or rt.example.com:8443", name)
	}
	return nil
}

// answersFor reports whether a host that was asked for is one of Hosts. An address and
// localhost always are: they cannot be made to mean another machine, as the name of a page
// can (DNS rebinding).
func (p *Proxies) answersFor(host string) bool {
	if len(p.Hosts) == 0 {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if _, err := netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") {
		return true
	}
	for _, own := range p.Hosts {
		if strings.EqualFold(own, host) || strings.EqualFold(own, name) {
			return true
		}
	}
	return false
}

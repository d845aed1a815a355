package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
)

// The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): a proxy that
// does not look into HTTP says in front of everything else for whom it speaks.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyLine      = 107 // bytes of a header of version 1, at most
	proxyBlock     = 16  // bytes of version 2 before the addresses
	maxProxyBlock  = 2 << 10
)

var errProxyHeader = errors.New("not a header of the PROXY protocol")

// parseProxyHeader reads a header that may not have come in full: then n is 0. The
// address is that of the client, or none where the proxy speaks for itself.
func parseProxyHeader(b []byte) (client netip.Addr, n int, err error) {
	if match := min(len(b), len(proxySignature)); string(b[:match]) == proxySignature[:match] {
		if len(b) < proxyBlock {
			return client, 0, nil
		}
		return parseProxyV2(b)
	}
	const begin = "PROXY "
	if match := min(len(b), len(begin)); string(b[:match]) != begin[:match] {
		return client, 0, errProxyHeader
	}
	end := bytes.Index(b[:min(len(b), proxyLine)], []byte("\r\n"))
	if end < 0 {
		if len(b) >= proxyLine {
			return client, 0, errProxyHeader
		}
		return client, 0, nil
	}
	client, err = parseProxyV1(b[len(begin):end])
	return client, end + len("\r\n"), err
}

// parseProxyV1 reads what stands between "PROXY " and the end of the line.
func parseProxyV1(line []byte) (client netip.Addr, err error) {
	fields := bytes.Split(line, []byte(" "))
	if string(fields[0]) == "UNKNOWN" {
		return client, nil // whatever follows says nothing
	}
	if len(fields) != 5 || string(fields[0]) != "TCP4" && string(fields[0]) != "TCP6" {
		return client, errProxyHeader
	}
	for _, port := range fields[3:] {
		if n, err := strconv.ParseUint(string(port), 10, 16); err != nil || strconv.FormatUint(n, 10) != string(port) {
			return client, errProxyHeader
		}
	}
	for _, address := range []*[]byte{&fields[2], &fields[1]} {
		client, err = netip.ParseAddr(string(*address))
		if err != nil || client.Zone() != "" || client.Is4() != (string(fields[0]) == "TCP4") {
			return netip.Addr{}, errProxyHeader
		}
	}
	return client.Unmap(), nil
}

// parseProxyV2 reads a header of which at least the block before the addresses is there.
func parseProxyV2(b []byte) (client netip.Addr, n int, err error) {
	command, family, size := b[12], b[13], int(binary.BigEndian.Uint16(b[14:]))
	if command != 0x20 && command != 0x21 || size > maxProxyBlock {
		return client, 0, errProxyHeader
	}
	n = proxyBlock + size
	if len(b) < n {
		return client, 0, nil
	}
	addresses := b[proxyBlock:n]
	if command == 0x20 {
		return client, n, nil // the proxy's own, such as a health check
	}
	switch {
	case family == 0x11 && size >= 12:
		client = netip.AddrFrom4([4]byte(addresses))
	case family == 0x21 && size >= 36:
		client = netip.AddrFrom16([16]byte(addresses)).Unmap()
	case family == 0x00:
	default:
		return client, 0, errProxyHeader
	}
	return client, n, nil
}

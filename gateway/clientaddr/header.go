package clientaddr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
)

// A header of the PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt), comes
// from a proxy that does not look into HTTP. It precedes everything else and names the
// client.
const (
	signature    = "\r\n\r\n\x00\r\nQUIT\n"
	maxLine      = 107 // bytes of a header of version 1, at most
	fixedBytes   = 16  // bytes of version 2 before the addresses
	maxAddresses = 2 << 10
)

var errHeader = errors.New("not a header of the PROXY protocol")

// ParseHeader reads a header of the PROXY protocol and returns its length, 0 when it has
// not come in full. The address is that of the client, or none where the proxy speaks for
// itself.
func ParseHeader(b []byte) (client netip.Addr, n int, err error) {
	if match := min(len(b), len(signature)); string(b[:match]) == signature[:match] {
		if len(b) < fixedBytes {
			return client, 0, nil
		}
		return parseV2(b)
	}
	const begin = "PROXY "
	if match := min(len(b), len(begin)); string(b[:match]) != begin[:match] {
		return client, 0, errHeader
	}
	end := bytes.Index(b[:min(len(b), maxLine)], []byte("\r\n"))
	if end < 0 {
		if len(b) >= maxLine {
			return client, 0, errHeader
		}
		return client, 0, nil
	}
	client, err = parseV1(b[len(begin):end])
	return client, end + len("\r\n"), err
}

// parseV1 reads the rest of a line that begins with "PROXY ".
func parseV1(line []byte) (client netip.Addr, err error) {
	fields := bytes.Split(line, []byte(" "))
	if string(fields[0]) == "UNKNOWN" {
		return client, nil // the rest says nothing
	}
	if len(fields) != 5 || string(fields[0]) != "TCP4" && string(fields[0]) != "TCP6" {
		return client, errHeader
	}
	for _, port := range fields[3:] {
		if n, err := strconv.ParseUint(string(port), 10, 16); err != nil || strconv.FormatUint(n, 10) != string(port) {
			return client, errHeader
		}
	}
	for _, address := range []*[]byte{&fields[2], &fields[1]} {
		client, err = netip.ParseAddr(string(*address))
		if err != nil || client.Zone() != "" || client.Is4() != (string(fields[0]) == "TCP4") {
			return netip.Addr{}, errHeader
		}
	}
	return client.Unmap(), nil
}

// parseV2 reads a header whose fixed bytes have come.
func parseV2(b []byte) (client netip.Addr, n int, err error) {
	command, family, size := b[12], b[13], int(binary.BigEndian.Uint16(b[14:]))
	if command != 0x20 && command != 0x21 || size > maxAddresses {
		return client, 0, errHeader
	}
	n = fixedBytes + size
	if len(b) < n {
		return client, 0, nil
	}
	addresses := b[fixedBytes:n]
	if command == 0x20 {
		return client, n, nil // a connection of the proxy itself, such as a health check
	}
	switch {
	case family == 0x11 && size >= 12:
		client = netip.AddrFrom4([4]byte(addresses))
	case family == 0x21 && size >= 36:
		client = netip.AddrFrom16([16]byte(addresses)).Unmap()
	case family == 0x00:
	default:
		return client, 0, errHeader
	}
	return client, n, nil
}

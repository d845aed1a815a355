package clientaddr

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

func v2Header(command, family byte, addresses string) string {
	head := append([]byte(signature), command, family)
	return string(binary.BigEndian.AppendUint16(head, uint16(len(addresses)))) + addresses
}

func TestParseProxyHeader(t *testing.T) {
	v4 := "\xcb\x00\x71\x07\x0a\x00\x00\x01\x00\x50\x1f\x90"
	v6 := string(netip.MustParseAddr("2001:db8::7").AsSlice()) + strings.Repeat("\x00", 20)
	for header, want := range map[string]string{
		"PROXY TCP4 203.0.113.7 10.0.0.1 80 8080\r\n":        "203.0.113.7",
		"PROXY TCP6 2001:db8::7 2001:db8::1 80 8080\r\n":     "2001:db8::7",
		"PROXY UNKNOWN\r\n":                                  "invalid IP",
		"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n":              "invalid IP",
		v2Header(0x21, 0x11, v4):                             "203.0.113.7",
		v2Header(0x21, 0x11, v4+"\x04\x00\x01x"):             "203.0.113.7",
		v2Header(0x21, 0x21, v6):                             "2001:db8::7",
		v2Header(0x20, 0x00, ""):                             "invalid IP",
		v2Header(0x21, 0x00, ""):                             "invalid IP",
		"GET / HTTP/1.1\r\n":                                 "error",
		"PROXY TCP4 203.0.113.7 10.0.0.1 80\r\n":             "error",
		"PROXY TCP4 2001:db8::7 10.0.0.1 80 8080\r\n":        "error",
		"PROXY TCP4 203.0.113.7 10.0.0.1 080 8080\r\n":       "error",
		"PROXY TCP4 203.0.113.7 10.0.0.1 80 99999\r\n":       "error",
		"PROXY  TCP4 203.0.113.7 10.0.0.1 80 8080\r\n":       "error",
		"PROXY TCP6 fe80::1%lo 2001:db8::1 80 8080\r\n":      "error",
		"PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n": "error",
		v2Header(0x22, 0x11, v4):                             "error",
		v2Header(0x11, 0x11, v4):                             "error",
		v2Header(0x21, 0x12, v4):                             "error",
		v2Header(0x21, 0x11, v4[:8]):                         "error",
		v2Header(0x21, 0x31, strings.Repeat("x", 216)):       "error",
		v2Header(0x21, 0x11, strings.Repeat("x", 3000)):      "error",
	} {
		client, n, err := ParseHeader([]byte(header + "rest"))
		got := client.String()
		if err != nil {
			got = "error"
		}
		if got != want || err == nil && n != len(header) {
			t.Errorf("%q: %s, %d bytes, want %s, %d", header, got, n, want, len(header))
		}
		if want == "error" {
			continue
		}
		for cut := range header {
			if _, n, err := ParseHeader([]byte(header[:cut])); n != 0 || err != nil {
				t.Errorf("%q cut at %d: %d, %v", header, cut, n, err)
			}
		}
	}
}

func FuzzParseProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.7 10.0.0.1 80 8080\r\nrest"))
	f.Add([]byte(v2Header(0x21, 0x11, "\xcb\x00\x71\x07\x0a\x00\x00\x01\x00\x50\x1f\x90")))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, n, err := ParseHeader(b)
		if n > len(b) || err != nil && client.IsValid() || n == 0 && err == nil && len(b) > fixedBytes+maxAddresses {
			t.Errorf("%q: %v, %d, %v", b, client, n, err)
		}
		// It is the same however the bytes are cut.
		for cut := range min(len(b), n) {
			if _, m, err := ParseHeader(b[:cut]); m != 0 || err != nil {
				t.Errorf("%q cut at %d: %d, %v", b, cut, m, err)
			}
		}
	})
}

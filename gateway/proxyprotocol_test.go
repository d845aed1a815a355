package gateway

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func proxyV2(command, family byte, addresses string) string {
	head := append([]byte(proxySignature), command, family)
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
		proxyV2(0x21, 0x11, v4):                              "203.0.113.7",
		proxyV2(0x21, 0x11, v4+"\x04\x00\x01x"):              "203.0.113.7",
		proxyV2(0x21, 0x21, v6):                              "2001:db8::7",
		proxyV2(0x20, 0x00, ""):                              "invalid IP",
		proxyV2(0x21, 0x00, ""):                              "invalid IP",
		"GET / HTTP/1.1\r\n":                                 "error",
		"PROXY TCP4 203.0.113.7 10.0.0.1 80\r\n":             "error",
		"PROXY TCP4 2001:db8::7 10.0.0.1 80 8080\r\n":        "error",
		"PROXY TCP4 203.0.113.7 10.0.0.1 080 8080\r\n":       "error",
		"PROXY TCP4 203.0.113.7 10.0.0.1 80 99999\r\n":       "error",
		"PROXY  TCP4 203.0.113.7 10.0.0.1 80 8080\r\n":       "error",
		"PROXY TCP6 fe80::1%lo 2001:db8::1 80 8080\r\n":      "error",
		"PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n": "error",
		proxyV2(0x22, 0x11, v4):                              "error",
		proxyV2(0x11, 0x11, v4):                              "error",
		proxyV2(0x21, 0x12, v4):                              "error",
		proxyV2(0x21, 0x11, v4[:8]):                          "error",
		proxyV2(0x21, 0x31, strings.Repeat("x", 216)):        "error",
		proxyV2(0x21, 0x11, strings.Repeat("x", 3000)):       "error",
	} {
		client, n, err := parseProxyHeader([]byte(header + "rest"))
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
			if _, n, err := parseProxyHeader([]byte(header[:cut])); n != 0 || err != nil {
				t.Errorf("%q cut at %d: %d, %v", header, cut, n, err)
			}
		}
	}
}

func FuzzParseProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.7 10.0.0.1 80 8080\r\nrest"))
	f.Add([]byte(proxyV2(0x21, 0x11, "\xcb\x00\x71\x07\x0a\x00\x00\x01\x00\x50\x1f\x90")))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, n, err := parseProxyHeader(b)
		if n > len(b) || err != nil && client.IsValid() || n == 0 && err == nil && len(b) > proxyBlock+maxProxyBlock {
			t.Errorf("%q: %v, %d, %v", b, client, n, err)
		}
		// It is the same however the bytes are cut.
		for cut := range min(len(b), n) {
			if _, m, err := parseProxyHeader(b[:cut]); m != 0 || err != nil {
				t.Errorf("%q cut at %d: %d, %v", b, cut, m, err)
			}
		}
	})
}

// The client's address comes from the header, on the descriptors of the event loops,
// with net/http, and before TLS; only a trusted proxy may and must send one.
func TestProxyProtocol(t *testing.T) {
	const header = "PROXY TCP4 203.0.113.7 10.0.0.1 80 8080\r\n"
	certFile, keyFile := writePair(t, t.TempDir(), "first")
	cert, err := LoadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	onEachPoller(t, func(t *testing.T, poller string) {
		for _, encrypted := range []bool{false, true} {
			trusted := func(cidr string) *harness {
				return newHarness(t, poller, func(c *Config) {
					c.ProxyProtocol, c.TrustedProxies = true, []netip.Prefix{prefix(cidr)}
					if encrypted {
						c.TLS = cert.TLS()
					}
				})
			}
			h := trusted("127.0.0.0/8")
			dial := func(h *harness, header string) *client {
				c := h.connect()
				c.send(header)
				if encrypted {
					socket := tls.Client(c.socket, &tls.Config{InsecureSkipVerify: true})
					c.socket, c.in = socket, bufio.NewReaderSize(socket, 64<<10)
				}
				return c
			}
			for _, header := range []string{header, proxyV2(0x21, 0x11, "\xcb\x00\x71\x07\x0a\x00\x00\x01\x00\x50\x1f\x90")} {
				c := dial(h, header)
				c.send(upgradeHead + "\r\n")
				if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
					t.Fatalf("upgrade: %v, %v", res, err)
				}
				c.text(`{"type":"auth","apiKey":"%s"}`, h.secret)
				c.want("auth_success")
				list := h.server.Connections(ConnectionQuery{Limit: 10})
				if len(list) == 0 || list[len(list)-1].Address != "203.0.113.7" {
					t.Errorf("connections %+v", list)
				}
				// And over HTTP.
				c = dial(h, header)
				c.send("GET /realtime/history?channel=c HTTP/1.1\r\nHost: x\r\nX-Api-Key: sk_wrong\r\n\r\n")
				if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 401 {
					t.Fatalf("history: %v, %v", res, err)
				}
				if got := h.lastRefusal(refusal.Query{Code: refusal.InvalidKey}); got.Address != "203.0.113.7" {
					t.Errorf("refused %+v", got)
				}
			}
			// Without a header a trusted proxy is not served, nor a stranger with one.
			for name, c := range map[string]*client{
				"none":     dial(h, ""),
				"stranger": dial(trusted("192.0.2.0/24"), header),
			} {
				_, _ = c.socket.Write([]byte(upgradeHead + "\r\n")) // which it may have been closed before
				if res, err := http.ReadResponse(c.in, nil); err == nil && res.StatusCode == 101 {
					t.Errorf("%s: served", name)
				}
			}
		}
	})
}

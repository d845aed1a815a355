package gateway

import (
	"bufio"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/certificate"
	"github.com/aptlyd/aptlyd/gateway/internal/testcert"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// The client's address comes from the header, on the descriptors of the event loops,
// with net/http, and before TLS; only a trusted proxy may and must send one.
func TestProxyProtocol(t *testing.T) {
	const (
		header       = "PROXY TCP4 203.0.113.7 10.0.0.1 80 8080\r\n"
		binaryHeader = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x0a\x00\x00\x01\x00\x50\x1f\x90"
	)
	certFile, keyFile := testcert.Write(t, t.TempDir(), "first")
	cert, err := certificate.Load(certFile, keyFile, slog.New(slog.DiscardHandler))
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
			for _, header := range []string{header, binaryHeader} {
				c := dial(h, header)
				c.send(upgradeHead + "\r\n")
				if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
					t.Fatalf("upgrade: %v, %v", res, err)
				}
				c.text(`{"type":"auth","apiKey":"%s"}`, h.secret)
				c.want("auth_success")
				list := h.server.Connections(admin.ConnectionQuery{Limit: 10})
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
			// Without a header a trusted proxy is not served, nor another client with one.
			for name, c := range map[string]*client{
				"none":  dial(h, ""),
				"other": dial(trusted("192.0.2.0/24"), header),
			} {
				_, _ = c.socket.Write([]byte(upgradeHead + "\r\n")) // which it may have been closed before
				if res, err := http.ReadResponse(c.in, nil); err == nil && res.StatusCode == 101 {
					t.Errorf("%s: served", name)
				}
			}
		}
	})
}

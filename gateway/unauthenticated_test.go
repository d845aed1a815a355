package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// wantStatus reads the answer to a request.
func (c *client) wantStatus(want int) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil || res.StatusCode != want {
		c.t.Fatalf("got %v, %v, want %d", res, err, want)
	}
	_, _ = io.Copy(io.Discard, res.Body)
}

// Of one address few sockets are kept whose clients have not authenticated,
// whatever they do on them; those who have are not among them.
func TestUnauthenticatedSocketsOfOneAddress(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.MaxAddressUnauthenticated = 4 })
		for range 8 {
			h.open(h.public)
		}
		kept := h.connect()
		get := "GET /realtime/history?channel=c HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.secret + "\r\n\r\n"
		kept.send(get)
		kept.wantStatus(200)

		others := []*client{h.dial(""), h.dial(""), h.connect(), h.connect()}
		for _, c := range others[2:] {
			c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			c.wantStatus(200)
		}
		over := h.connect()
		over.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		over.wantStatus(429)
		found, err := h.server.Refusals(refusal.Query{Limit: 1})
		if err != nil || len(found) != 1 || found[0].Reason != refuseUnauthenticated().Reason ||
			found[0].Address != "127.0.0.1" {
			t.Errorf("refusals %+v, %v", found, err)
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
		socket, err := dialer.DialContext(t.Context(), "tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()

		// One that authenticates makes room, and so does one that goes.
		others[0].text(`{"type":"auth","apiKey":%q}`, h.secret)
		others[0].want("auth_success")
		_ = others[2].socket.Close()
		for range 2 {
			eventually(t, func() string {
				c := h.connect()
				c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
				res, err := http.ReadResponse(c.in, nil)
				if err != nil || res.StatusCode != 200 {
					_ = c.socket.Close()
					return fmt.Sprintf("no room was made: %v, %v", res, err)
				}
				return ""
			})
		}
		kept.send(get)
		kept.wantStatus(200)
	})
}

// A connection that HTTP keeps alive for nobody in particular ends soon; that of a
// backend does not, nor that of a trusted proxy.
func TestIdleUnauthenticatedAreClosed(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		for _, trusted := range []bool{false, true} {
			h := newHarness(t, poller, func(c *Config) {
				c.UnauthenticatedIdle = 200 * time.Millisecond
				if trusted {
					c.TrustedProxies = []netip.Prefix{prefix("127.0.0.0/8")}
				}
			})
			backend, other := h.connect(), h.connect()
			get := "GET /realtime/history?channel=c HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.secret + "\r\n\r\n"
			backend.send(get)
			backend.wantStatus(200)
			other.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			other.wantStatus(200)
			if trusted {
				if err := other.socket.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := other.in.ReadByte()
			if closed := err == io.EOF; closed == trusted {
				t.Errorf("trusted %v: %v", trusted, err)
			}
			backend.send(get)
			backend.wantStatus(200)
		}
	})
}

// Behind a trusted proxy each client's own address is bounded.
func TestUnauthenticatedBehindAProxy(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.MaxAddressUnauthenticated = 2
			c.TrustedProxies = []netip.Prefix{prefix("127.0.0.0/8")}
		})
		from := func(n int) string { return fmt.Sprintf("X-Forwarded-For: 192.0.2.%d\r\n", n) }
		for range 2 {
			h.dial(from(1))
		}
		over := h.connect()
		over.send(upgradeHead + from(1) + "\r\n")
		over.wantStatus(429)
		for n := range 8 {
			h.dial(from(2 + n))
		}
	})
}

// With a port of their own, operators are served there and only there, also when
// the clients' port is full; health is on both.
func TestAdminListener(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		operators, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := newHarness(t, poller, func(c *Config) {
			c.AdminListener, c.MaxHandshakes = operators, 2
			c.Console = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "console") })
		})
		clients := h.addr
		status := func(addr, path string) int {
			t.Helper()
			res, err := (&http.Client{
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}).Get("http://" + addr + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			return res.StatusCode
		}
		for path, want := range map[string][2]int{
			"/healthz": {200, 200}, "/readyz": {200, 200}, "/metrics": {404, 200}, "/console/": {
				404,
				200,
			}, "/console": {404, 302},
			"/admin/v1/whoami": {404, 401}, "/console/session": {404, 405}, "/": {404, 302},
		} {
			if got := [2]int{status(clients, path), status(operators.Addr().String(), path)}; got != want {
				t.Errorf("%s: %v, want %v", path, got, want)
			}
		}
		h.open(h.public)
		h.addr = operators.Addr().String() // the console's live tail
		h.open(h.public)
		h.addr = clients
		for range 2 {
			h.connect()
		}
		h.connect()
		h.untilPaused("handshakes")
		for _, path := range []string{"/healthz", "/readyz", "/metrics", "/console/"} {
			if got := status(operators.Addr().String(), path); got != 200 {
				t.Errorf("%s answers %d while the clients' port is full", path, got)
			}
		}
	})
}

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const keptAlive = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

// A request is judged alike, whether it is the first on its connection or a later one,
// however it is cut, with and without TLS, and on the operators' port.
func TestLaterRequestsAreJudgedAsTheFirst(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		for _, encrypted := range []bool{false, true} {
			for _, operators := range []bool{false, true} {
				t.Run(fmt.Sprintf("TLS %v,operators %v", encrypted, operators), func(t *testing.T) {
					testLaterRequests(t, poller, encrypted, operators)
				})
			}
		}
	})
}

func testLaterRequests(t *testing.T, poller string, encrypted, operators bool) {
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begin := newHarness
	if encrypted {
		begin = newTLSHarness
	}
	h := begin(t, poller, func(c *Config) { c.AdminListener = port })
	if operators {
		h.addr = port.Addr().String()
	}
	connect := h.connect
	if encrypted {
		connect = func() *client { return h.dialTLS(unverified()) }
	}
	readByLoop := poller == "epoll" && !encrypted && !operators // the first request
	post := "POST /nothing HTTP/1.1\r\nHost: x\r\n"
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"good":                 {keptAlive, 200},
		"with a body":          {post + "Content-Length: 5\r\n\r\nhello", 404},
		"in chunks":            {post + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", 404},
		"upgrade to h2c":       {"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 200},
		"both lengths":         {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"both, the other way":  {post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
		"length twice":         {post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
		"length in a list":     {post + "Content-Length: 5, 5\r\n\r\nhello", 400},
		"signed length":        {post + "Content-Length: +5\r\n\r\nhello", 400},
		"coding twice":         {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"another coding":       {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
		"folded header":        {"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", 400},
		"bare line feeds":      {"GET /healthz HTTP/1.1\nHost: x\n\n", 400},
		"a bare line feed":     {"GET /healthz HTTP/1.1\r\nX: y\nHost: x\r\n\r\n", 400},
		"space before a colon": {"GET /healthz HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400},
		"too many headers":     {"GET /healthz HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 64) + "\r\n", 400},
	} {
		for before, first := range map[string]string{"first": "", "later": keptAlive, "behind a body": post +
			"Content-Length: 2\r\n\r\n{}"} {
			for _, pieces := range []bool{false, true} {
				client := connect()
				if first != "" {
					client.send(first)
					if res, err := http.ReadResponse(client.in, nil); err != nil {
						t.Fatal(err)
					} else if _, err = io.Copy(io.Discard, res.Body); err != nil {
						t.Fatal(err)
					}
				}
				if cut := len(c.request) / 2; pieces {
					client.send(c.request[:cut])
					client.send(c.request[cut:])
				} else {
					client.send(c.request)
				}
				want := c.status
				if name == "too many headers" && first == "" && readByLoop {
					want = 431
				}
				res, err := http.ReadResponse(client.in, nil)
				if err != nil || res.StatusCode != want {
					t.Errorf("%s, %s: %v, %v, want %d", name, before, res, err, want)
					continue
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Error(err)
				}
				if c.status >= 400 && c.status != 404 {
					if _, err := client.in.ReadByte(); err == nil {
						t.Errorf("%s, %s: the connection goes on", name, before)
					}
				}
			}
		}
	}
	if got := h.lastRefusal(refusal.Query{Code: refusal.InvalidMessage}); got.Via != "handshake" ||
		got.Address != "127.0.0.1" {
		t.Errorf("%+v", got)
	}
}

// What comes behind an upgrade that is refused is not read as a request.
func TestRefusedUpgradeIsTheLastRequest(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		client := newHarness(t, poller).connect()
		client.send(strings.Replace(upgradeHead, ": 13", ": 8", 1) + "\r\n" + "GET /healthz HTTP/1.1\nHost: x\n\n")
		res, err := http.ReadResponse(client.in, nil)
		if err != nil || res.StatusCode != 426 || !res.Close {
			t.Fatal(res, err)
		}
		rest, _ := io.ReadAll(client.in)
		if bytes.Contains(rest, []byte("HTTP/1.1")) {
			t.Errorf("it is answered: %q", rest)
		}
	})
}

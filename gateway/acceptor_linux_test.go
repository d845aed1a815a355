package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Of 5,000 clients of one address that never end their first request, as many
// are kept as may be; the rest is told to come later. Others come in meanwhile,
// and those who are in notice nothing.
func TestHalfOpenHandshakesOfOneAddress(t *testing.T) {
	const all, kept = 5000, 1024
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*all {
		t.Skipf("%d open files are needed, %d are allowed", 2*all, files.Cur)
	}
	for _, name := range poll.Names() {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, name, func(c *Config) { c.HandshakeTimeout = time.Hour })
			good := h.open(h.public)
			good.subscribe("c", "")
			var clients []*client
			answers := make(chan string, all)
			for range all {
				c := h.connect()
				c.send("GET / HTTP/1.1\r\n")
				clients = append(clients, c)
				go func() {
					answer, _ := io.ReadAll(c.in) // a reset ends it as well
					status, _, _ := strings.Cut(string(answer), "\r\n")
					answers <- status
				}()
			}
			eventually(t, func() string {
				if n := h.metric("aptlyd_refusals_total", string(refusal.RateLimited), "handshake"); n != all-kept {
					return fmt.Sprintf("%v are turned away, want %d", n, all-kept)
				}
				return ""
			})
			h.fill("c", 1)
			good.wantMessages("c", 1, 1, false)
			// Another address is another matter.
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
			socket, err := dialer.DialContext(t.Context(), "tcp", h.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			other := &client{t, socket, bufio.NewReader(socket)}
			other.send(upgradeHead + "\r\n")
			if res, err := http.ReadResponse(other.in, nil); err != nil || res.StatusCode != 101 {
				t.Fatalf("another address: %v, %v", res, err)
			}
			for _, c := range clients {
				_ = c.socket.Close()
			}
			count := make(map[string]int)
			for range all {
				count[<-answers]++
			}
			// Who is turned away while he talks may see a reset only.
			if n := count["HTTP/1.1 429 Too Many Requests"]; n == 0 || n > all-kept || len(count) > 2 {
				t.Errorf("answers: %v", count)
			}
			h.noPendingConns()
		})
	}
}

// With too many unfinished handshakes the others wait, and are served once there is room.
func TestHerdWaits(t *testing.T) {
	h := newHarness(t, "epoll", func(c *Config) { c.MaxHandshakes = 2 })
	first, second := h.connect(), h.connect()
	waits := h.connect()
	waits.send(upgradeHead + "\r\n")
	h.untilPaused("handshakes")
	first.send(upgradeHead + "\r\n")
	second.send(upgradeHead + "\r\n")
	for i, c := range []*client{first, second, waits} {
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
			t.Errorf("client %d: %v, %v", i, res, err)
		}
	}
	h.noPendingConns()
}

// Without a free descriptor accepting pauses and goes on when there is one.
// This test must run alone: it takes all descriptors of the process.
func TestNoDescriptorLeft(t *testing.T) {
	h := newHarness(t, "epoll")
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	probe, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	held := []*os.File{probe}
	defer func() {
		for _, f := range held {
			_ = f.Close()
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(probe.Fd()) + 8, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		held = append(held, f)
	}
	free := func() {
		_ = held[len(held)-1].Close()
		held = held[:len(held)-1]
	}
	free()
	c := h.connect() // takes the last one
	c.send(upgradeHead + "\r\n")
	h.untilPaused("descriptors")
	if n := h.metric("aptlyd_accept_pauses_total", "descriptors"); n > 1000 {
		t.Errorf("accepting spins: %v pauses", n)
	}
	free()
	if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
		t.Errorf("got %v, %v", res, err)
	}
}

// What is not an upgrade is net/http's, with every byte, and may become one
// later.
func TestUpgradeOfAKeptAliveConnection(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.connect()
		body := `{"channel":"c","message":"` + strings.Repeat("x", 40<<10) + `"}`
		post := fmt.Sprintf("POST /realtime HTTP/1.1\r\nHost: x\r\nx-api-key: %s\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\n\r\n%s",
			h.secret, len(body), body)
		for _, cutAt := range []int{len(post), 10, 200, len(post) - 1} {
			c.send(post[:cutAt])
			c.send(post[cutAt:])
			res, err := http.ReadResponse(c.in, nil)
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("publish: %v, %v", res, err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
		}
		c.send(upgradeHead + "Origin: " + testOrigin + "\r\n\r\n")
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
			t.Fatalf("upgrade: %v, %v", res, err)
		}
		c.text(`{"type":"auth","apiKey":"%s","timestamp":1}`, h.public)
		c.want("auth_success")
		c.want("connected")
		_ = c.socket.Close()
		h.noPendingConns()
	})
}

// A node that must not go on closes its listener first, which the loops take
// for no mistake.
func TestListenerClosedByItsOwner(t *testing.T) {
	h := newHarness(t, "epoll", func(c *Config) { c.MaxHandshakes = 1 })
	h.connect() // accepting pauses, and would go on
	c := h.connect()
	h.untilPaused("handshakes")
	if err := h.server.cfg.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("a client is served by a closed listener")
	}
	if n := h.server.ConnectionCount(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

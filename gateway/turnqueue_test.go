package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/certificate"
	"github.com/aptlyd/aptlyd/gateway/internal/testcert"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func (q *turnQueue) count() (waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, turns := range q.waiting {
		waiting += len(turns)
	}
	return waiting
}

// Addresses are served in turn, those of an IPv6 /64 as one, and no more at a time than
// there is room for.
func TestHandshakeQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurnQueue()
		q.free = 1
		var mu sync.Mutex
		var served []string
		inside := 0
		come := func(name string, from netip.Addr) {
			go func() {
				if err := q.enter(from, time.Hour); err != nil {
					t.Error(err)
				}
				mu.Lock()
				served = append(served, name)
				inside++
				if inside > 1 {
					t.Errorf("%d at a time", inside)
				}
				mu.Unlock()
				time.Sleep(time.Millisecond) // of the fake clock: the handshake
				mu.Lock()
				inside--
				mu.Unlock()
				q.leave()
			}()
			synctest.Wait()
		}
		for i := range 100 {
			come("attacker", netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
		}
		for i := range 2 {
			come("office", netip.MustParseAddr("192.0.2.1"))
			come(fmt.Sprintf("home %d", i), netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		q.mu.Lock()
		defer q.mu.Unlock()
		want := []string{"attacker", "attacker", "office", "home 0", "home 1", "attacker", "office", "attacker"}
		if got := served[:len(want)]; !slices.Equal(got, want) {
			t.Errorf("served %v, want %v", got, want)
		}
		if len(served) != 104 || q.free != 1 || len(q.turns) != 0 || len(q.waiting) != 0 {
			t.Errorf("%d were served, %d turns are free, left are %v, %v", len(served), q.free, q.turns, q.waiting)
		}
	})
}

// A handshake that waits for too long is given up, and leaves nothing behind.
func TestHandshakeQueueTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurnQueue()
		q.free = 1
		one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		if err := q.enter(one, time.Second); err != nil {
			t.Fatal(err)
		}
		for _, from := range []netip.Addr{one, one, other} {
			go func() {
				if err := q.enter(from, time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v is served: %v", from, err)
				}
			}()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		q.leave()
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.free != 1 || len(q.turns) != 0 || len(q.waiting) != 0 {
			t.Errorf("%d turns are free, left are %v, %v", q.free, q.turns, q.waiting)
		}
	})
}

// newTLSHarness is newHarness with TLS.
func newTLSHarness(t testing.TB, poller string, adjust ...func(*Config)) *harness {
	t.Helper()
	certFile, keyFile := testcert.Write(t, t.TempDir(), "node")
	pair, err := certificate.Load(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return newHarness(t, poller, append([]func(*Config){func(c *Config) { c.TLS = pair.TLS() }}, adjust...)...)
}

// unverified is the configuration of a client that takes any certificate.
func unverified() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is the test's own
}

// Few handshakes are computed at a time, and a client of another address need not wait for
// all of those that came before.
func TestHandshakesOfManyClients(t *testing.T) {
	const many = 50
	onEachPoller(t, func(t *testing.T, poller string) {
		computed, goOn := make(chan string), make(chan struct{})
		h := newTLSHarness(t, poller, func(c *Config) {
			show := c.TLS.GetCertificate
			c.TLS.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				from, _, _ := net.SplitHostPort(hello.Conn.RemoteAddr().String())
				computed <- from
				<-goOn
				return show(hello)
			}
		})
		q := h.server.turnQueue
		q.mu.Lock()
		q.free = 1
		q.mu.Unlock()
		var clients sync.WaitGroup
		handshake := func() {
			c := h.dialTLS(unverified())
			clients.Go(func() {
				if _, err := io.WriteString(c.socket, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Error(err)
				}
				if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 200 {
					t.Errorf("got %v, %v", res, err)
				}
			})
		}
		untilWaiting := func(want int) {
			eventually(t, func() string {
				if n := q.count(); n != want {
					return fmt.Sprintf("%d handshakes wait, want %d", n, want)
				}
				return ""
			})
		}
		for range many {
			handshake()
		}
		untilWaiting(many - 1)
		h.dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}
		handshake()
		untilWaiting(many)
		var order []string
		for range many + 1 {
			order = append(order, <-computed)
			select {
			case from := <-computed:
				t.Errorf("%s is computed at the same time", from)
			default:
			}
			goOn <- struct{}{}
		}
		clients.Wait()
		// Turns are also taken to look at what ends a handshake.
		if place := slices.Index(order, "127.0.0.9"); place < 0 || place > 3 {
			t.Errorf("the other address comes at %d of %v", place, order)
		}
		eventually(t, func() string {
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.free != 1 {
				return "a turn was lost"
			}
			return ""
		})
	})
}

// A client that leaves while its handshake waits or is computed gives its turn back.
func TestHandshakesThatAreBrokenOff(t *testing.T) {
	h := newTLSHarness(t, "portable")
	room := h.server.turnQueue.free
	for range 20 {
		for _, nonsense := range []string{"nonsense", "\x16\x03\x01\x00\x05nonsense"} { // the first is not answered
			c := h.connect()
			c.send(nonsense)
			_, _ = io.Copy(io.Discard, c.in)
			_ = c.socket.Close()
		}
		c := h.dialTLS(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}) //nolint:gosec // refused
		_ = c.socket.(*tls.Conn).HandshakeContext(t.Context())
		_ = c.socket.Close()
		c = h.dialTLS(unverified())
		_ = c.socket.(*tls.Conn).HandshakeContext(t.Context())
		_ = c.socket.Close()
	}
	eventually(t, func() string {
		q := h.server.turnQueue
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.free != room || len(q.turns) != 0 {
			return fmt.Sprintf("%d of %d turns are free, %d addresses wait", q.free, room, len(q.turns))
		}
		return ""
	})
}

// Beyond its rate the TLS connections of an address are closed before they cost a
// handshake. Another address, a trusted proxy and clients without TLS are not.
func TestHandshakeRate(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		slow := func(c *Config) { c.AddressHandshake = 1 }
		served := func(h *harness, config *tls.Config, header string) bool {
			c := h.connect()
			if header != "" {
				c.send(header)
			}
			if config != nil {
				encrypted := tls.Client(c.socket, config)
				c.socket, c.in = encrypted, bufio.NewReader(encrypted)
			}
			if _, err := io.WriteString(c.socket, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				return false
			}
			res, err := http.ReadResponse(c.in, nil)
			return err == nil && res.StatusCode == 200
		}
		refuses := func(h *harness, config *tls.Config, header, address string) {
			t.Helper()
			// Five seconds' worth may come at once; a slow machine brings more.
			for n := 0; served(h, config, header); n++ {
				if n == 1000 {
					t.Fatal("nobody is refused")
				}
			}
			got := h.lastRefusal(refusal.Query{Code: refusal.RateLimited})
			if got.Address != address || got.Via != "handshake" ||
				got.Detail != "too much at once of TLS connections from this address: 1 a second are allowed, 5 at once" {
				t.Errorf("refused %+v", got)
			}
		}
		h := newTLSHarness(t, poller, slow)
		refuses(h, unverified(), "", "127.0.0.1")
		h.dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}
		if !served(h, unverified(), "") {
			t.Error("another address is refused")
		}

		proxied := newTLSHarness(t, poller, slow, func(c *Config) {
			c.TrustedProxies = []netip.Prefix{prefix("127.0.0.0/8")}
		})
		plain := newHarness(t, poller, slow)
		for range 20 {
			if !served(proxied, unverified(), "") {
				t.Fatal("a trusted proxy is refused")
			}
			if !served(plain, nil, "") {
				t.Fatal("a client without TLS is refused")
			}
		}

		announced := newTLSHarness(t, poller, slow, func(c *Config) {
			c.ProxyProtocol, c.TrustedProxies = true, []netip.Prefix{prefix("127.0.0.0/8")}
		})
		refuses(announced, unverified(), "PROXY TCP4 203.0.113.7 10.0.0.1 80 8080\r\n", "203.0.113.7")
		if !served(announced, unverified(), "PROXY TCP4 203.0.113.8 10.0.0.1 80 8080\r\n") {
			t.Error("another client of the proxy is refused")
		}
	})
}

// A client that comes back resumes its session, which costs no signature.
func TestSessionIsResumed(t *testing.T) {
	h := newTLSHarness(t, "portable")
	config := unverified()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, want := range []bool{false, true} {
		c := h.dialTLS(config)
		c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		c.wantStatus(200)
		if got := c.socket.(*tls.Conn).ConnectionState().DidResume; got != want {
			t.Errorf("resumed: %v, want %v", got, want)
		}
		_ = c.socket.Close()
	}
}

// take takes all turns that are free.
func (q *turnQueue) take() (giveBack func()) {
	q.mu.Lock()
	n := q.free
	q.free = 0
	q.mu.Unlock()
	return func() {
		for range n {
			q.leave()
		}
	}
}

// A request of an unknown client waits for its turn, and is refused when that takes too long. A
// backend that has authenticated on a connection needs no turn there.
func TestRequestsTakeTurns(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		q := h.server.turnQueue
		const publish = "POST /realtime HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Type: application/json\r\n" +
			"Content-Length: 27\r\n\r\n" + `{"channel":"c","message":1}`
		backend := h.connect()
		backend.send(fmt.Sprintf(publish, h.secret))
		served(backend)

		giveBack := q.take()
		unknown := h.connect()
		unknown.send(keptAlive)
		eventually(t, func() string {
			if q.count() != 1 {
				return "the unknown does not wait"
			}
			return ""
		})
		backend.send(fmt.Sprintf(publish, h.secret))
		served(backend)
		giveBack()
		served(unknown)

		h = newHarness(t, poller, func(c *Config) { c.HandshakeTimeout = 300 * time.Millisecond })
		unknown = h.connect()
		unknown.send(keptAlive)
		served(unknown)
		giveBack = h.server.turnQueue.take()
		unknown.send(keptAlive)
		if res := unknown.wantResponse(429); !res.Close || res.Header.Get("Retry-After") == "" {
			t.Errorf("refused with %v", res)
		}
		giveBack()
		if got := h.lastRefusal(refusal.Query{Code: refusal.RateLimited}); got.Via != "rest" {
			t.Errorf("%+v", got)
		}
	})
}

func served(c *client) {
	c.t.Helper()
	_, _ = io.Copy(io.Discard, c.wantResponse(http.StatusOK).Body)
}

// Whatever a request waits for, it gives its turn back before.
func TestNoRequestWaitsInItsTurn(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		room := h.server.turnQueue.free
		asked, answer := make(chan struct{}), make(chan struct{})
		goOn := sync.OnceFunc(func() { close(answer) })
		t.Cleanup(goOn) // also if it fails
		h.broker.onCatchUp(func() { close(asked); <-answer })
		c := h.connect()
		c.send("GET /realtime/history?channel=c HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + auth.NewKeyText(fsm.PublicKey) +
			"\r\n\r\n")
		<-asked
		slow := h.connect()
		slow.send("POST /console/session HTTP/1.1\r\nHost: x\r\nX-Aptlyd-Console: 1\r\nContent-Type: application/json\r\n" +
			"Content-Length: 9\r\n\r\n{")
		body := h.post(1000)
		body.send("{")
		for _, path := range []string{"poll?channel=c&wait=50", "sse?channel=c"} {
			h.connect().send("GET /realtime/" + path + " HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.secret + "\r\n\r\n")
		}
		eventually(t, func() string {
			if n := h.server.ConnectionCount(); n != 2 {
				return fmt.Sprintf("%d connections", n)
			}
			return ""
		})
		free := func() string {
			q := h.server.turnQueue
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.free != room {
				return fmt.Sprintf("%d of %d turns are free", q.free, room)
			}
			return ""
		}
		probe := h.connect()
		probe.send(keptAlive)
		served(probe)
		eventually(t, free)
		goOn()
		c.wantResponse(401)
		eventually(t, free)
	})
}

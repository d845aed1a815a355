package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/origin"
)

// The published Go client hangs when the answer to auth comes before it has begun to
// wait for it: its answer waits a little, a refusal too, and nobody else's.
func TestHastyClientsAreAnsweredLater(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.broker.set(func() {
			p := *h.broker.projects[testProject]
			p.AllowNativeClients = true
			h.broker.projects[testProject] = &p
		})
		const own = "Origin: http://broker.example.com/realtime\r\nUser-Agent: Go-http-client/1.1\r\n"
		for _, key := range []string{h.public, h.secret, "pk_mistyped"} {
			hasty := h.dial(own)
			hasty.text(`{"type":"auth","apiKey":"%s","timestamp":1}`, key)
			sent := time.Now()
			other := h.open(h.secret) // another client is not kept waiting, whatever the first one does
			first := hasty.next()
			if waited := time.Since(sent); waited < firstAnswerDelay*3/4 {
				t.Errorf("%.3s…: answered with %s after %v", key, first, waited)
			}
			if want := "auth_success"; key != "pk_mistyped" && first.Type != want {
				t.Errorf("answered with %s", first)
			}
			other.subscribe("c", "")
		}
		// What it sends meanwhile is not lost.
		hasty := h.dial(own)
		hasty.text(`{"type":"auth","apiKey":"%s"}`, h.public)
		hasty.text(`{"type":"subscribe","channel":"c"}`)
		hasty.want("auth_success")
		hasty.want("connected")
		hasty.want("subscribed")
		// One that leaves at once is forgotten.
		gone := h.dial(own)
		gone.text(`{"type":"auth","apiKey":"%s"}`, h.public)
		_ = gone.socket.Close()
	})
}

func TestWhoIsHasty(t *testing.T) {
	for _, c := range []struct {
		agent, origin, host string
		want                bool
	}{
		{"", "http://localhost:8080", "localhost:8080", true},
		{"", "http://localhost:8080/", "localhost:8080", true},
		{"", "https://rt.example.com/realtime", "rt.example.com", true},
		{"Go-http-client/1.1", "http://localhost:8080/realtime", "localhost:8080", true},
		{"Go-http-client/1.1", "https://app.example.com", "localhost:8080", false},
		{"Mozilla/5.0", "http://localhost:8080", "localhost:8080", false},
		{"", "", "localhost:8080", false},
		{"", "https://app.example.com", "rt.example.com", false},
	} {
		if got := losesEarlyAnswer(c.agent, c.origin, c.host); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// The published Go client takes the URL that it connects to for its origin.
func TestOwnOriginWithAPath(t *testing.T) {
	for header, want := range map[string]bool{
		"http://rt.example.com":           true,
		"http://rt.example.com/":          true,
		"http://rt.example.com/realtime":  true,
		"https://rt.example.com/a/b?c=d":  true,
		"http://rt.example.com.evil.com/": false,
		"http://evil.com/rt.example.com":  false,
		"http://evil.com/@rt.example.com": false,
		"http://a@rt.example.com/":        false,
		"rt.example.com/":                 false,
		"null":                            false,
	} {
		if got := origin.IsOwn(header, "rt.example.com"); got != want {
			t.Errorf("%s: %v", header, got)
		}
		if v := origin.Judge(nil, true, header, "rt.example.com"); v.Allowed != want {
			t.Errorf("%s: allowed %v", header, v.Allowed)
		}
		// A path makes no origin of a page match.
		if v := origin.Judge([]string{"http://evil.com"}, false, header, "rt.example.com"); v.Allowed {
			t.Errorf("%s is let in", header)
		}
	}
}

// newClosed starts a server that is not open yet.
func newClosed(t *testing.T, adjust func(*Config)) (*Server, *harness) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newFakeBroker()
	b.projects[testProject] = &fsm.Project{ID: testProject, AllowedOrigins: []string{testOrigin}}
	cfg := Config{
		Listener: listener, Broker: b, Loops: 2, Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
	adjust(&cfg)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.observer = s
	h := &harness{t: t, broker: b, server: s, addr: listener.Addr().String()}
	h.secret = b.addKey(testProject, fsm.ServerKey)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		b.close()
	})
	return s, h
}

// A client that comes while the node starts waits, since for some one failed attempt is
// the last.
func TestUpgradeWaitsForANodeThatStarts(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		s, h := newClosed(t, func(c *Config) { c.Poller, c.Limits.UpgradeHold = poller, time.Hour })
		c := h.connect()
		c.send(upgradeHead + "\r\n")
		eventually(t, func() string {
			if s.held.Load() != 1 {
				return "it is not held"
			}
			return ""
		})
		// Everything else is told at once.
		if res, _ := h.do("POST", "/realtime", "{}"); res.StatusCode != 503 {
			t.Errorf("a publish: %d", res.StatusCode)
		}
		// Who leaves is let go of.
		gone := h.connect()
		gone.send(upgradeHead + "\r\n")
		eventually(t, func() string {
			if s.held.Load() != 2 {
				return "it is not held"
			}
			return ""
		})
		_ = gone.socket.Close()
		eventually(t, func() string {
			if s.held.Load() != 1 {
				return "it is still held"
			}
			return ""
		})
		s.Open()
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("answered %v, %v", res, err)
		}
		c.text(`{"type":"auth","apiKey":"%s"}`, h.secret)
		c.want("auth_success")
	})
}

func TestUpgradeIsNotHeldForEver(t *testing.T) {
	_, h := newClosed(t, func(c *Config) { c.Limits.UpgradeHold = 10 * time.Millisecond })
	c := h.connect()
	c.send(upgradeHead + "\r\n")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("answered %v, %v", res, err)
	}
}

// Balancers learn only after a moment that a node drains. Until then it takes whom they
// send.
func TestDrainingNodeTakesClientsForAMoment(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.Limits.DrainLinger, c.Limits.DrainSpread = 300*time.Millisecond, time.Millisecond
		})
		old := h.open(h.secret)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		drained := make(chan error, 1)
		go func() { drained <- h.server.Drain(ctx) }()
		old.wantClose(closeRestart)
		if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != 503 {
			t.Errorf("/readyz answers %d", res.StatusCode)
		}
		late := h.open(h.secret)
		late.text(`{"type":"publish","channel":"c","message":1}`)
		late.want("published")
		late.wantClose(closeRestart)
		late.send(string(clientFrame(8, true, nil)))
		old.send(string(clientFrame(8, true, nil)))
		if err := <-drained; err != nil {
			t.Error(err)
		}
		c := h.connect()
		c.send(upgradeHead + "\r\n")
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 503 {
			t.Errorf("afterwards: %v, %v", res, err)
		}
	})
}

// Nobody waits for a node without clients.
func TestDrainWithoutClientsIsDoneAtOnce(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.Limits.DrainLinger = time.Hour })
	if err := h.server.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

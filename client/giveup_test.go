package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestHopelessErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&net.DNSError{Err: "no such host", IsNotFound: true}, true},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, false},
		{&statusError{status: 404}, true},
		{&statusError{status: 200}, true},
		{&statusError{status: 301}, true},
		{&statusError{status: 429}, false},
		{&statusError{status: 503}, false},
		{&closeError{1013, "node is draining"}, false},
		{&net.OpError{Op: "dial", Err: errors.New("i/o timeout")}, false},
		{context.DeadlineExceeded, false},
	} {
		if got := hopeless(fmt.Errorf("dial: %w", c.err)); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

// A client that fails fast tries every endpoint before it ends, and once it has been
// connected it never ends by itself.
func TestFailFast(t *testing.T) {
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	fast := func(endpoints ...string) *Client {
		c, err := newClient(Options{Endpoints: endpoints, APIKey: "sk_test", FailFast: true}, quick)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	c := fast(missing.URL, missing.URL)
	if err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "HTTP status 404") {
		t.Errorf("got %v", err)
	}
	receive(t, c.Done())
	if _, err := c.Publish(t.Context(), Publication{Channel: "c", Data: 1}); err == nil ||
		!strings.Contains(err.Error(), "HTTP status 404") {
		t.Errorf("a publish of one that has ended: %v", err)
	}

	server := startFake(t)
	c = fast(missing.URL, server.URL)
	server.welcome(t).close(1012)
	server.welcome(t).close(1012) // in between it has met the other
	if err := c.Err(); err != nil {
		t.Errorf("one that was connected has ended: %v", err)
	}
}

// Without it a client goes on, and whoever waits hears why.
func TestWaitsSayWhatFailedLast(t *testing.T) {
	var status atomic.Int64
	status.Store(404)
	asked := make(chan struct{}, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "said the server", int(status.Load()))
		select {
		case asked <- struct{}{}:
		default:
		}
	}))
	defer server.Close()
	c := connectTo(t, quick, server.URL)
	receive(t, asked)
	receive(t, asked) // so the first answer is known
	for name, wait := range map[string]func(ctx context.Context) error{
		"connect": c.Connect,
		"publish": func(ctx context.Context) error {
			_, err := c.Publish(ctx, Publication{Channel: "c", Data: 1})
			return err
		},
		"subscribe": func(ctx context.Context) error {
			_, err := c.Subscribe(ctx, "c", SubscribeOptions{OnMessage: func(Message) {}})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := wait(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not in time: dial") ||
			!strings.Contains(err.Error(), "404 Not Found instead of a WebSocket: said the server") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, ErrUnknown) {
			t.Errorf("%s: what was never sent is unknown: %v", name, err)
		}
	}
}

// A passing refusal is what a wait says it was in vain for; an attempt that is still
// unanswered stays unknown.
func TestWaitsSayWhatRefusedLast(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := c.Publish(ctx, Publication{Channel: "c", Data: 1, ID: "i"})
		result <- err
	}()
	conn.expect("publish")
	conn.send(`{"type":"error","error":"no quorum","code":"unavailable","channel":"c","id":"i"}`)
	conn.expect("publish") // again, and now there is no answer
	cancel()
	if err := receive(t, result); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) ||
		!strings.Contains(err.Error(), "no quorum") {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		_, err := c.Subscribe(ctx, "d", SubscribeOptions{OnMessage: func(Message) {}})
		result <- err
	}()
	conn.expect("subscribe")
	conn.send(`{"type":"error","error":"no quorum yet","code":"unavailable","channel":"d"}`)
	conn.expect("subscribe")
	cancel()
	if err := receive(t, result); !errors.Is(err, context.Canceled) ||
		!strings.Contains(err.Error(), "given up: no quorum yet") {
		t.Errorf("got %v", err)
	}
}

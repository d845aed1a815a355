package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestConnectsThroughAProxy(t *testing.T) {
	server := startFake(t)
	asked := make(chan *http.Request, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		down, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _, _ = up.Close(), down.Close() })
		_, _ = io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(up, down) }()
		_, _ = io.Copy(down, up)
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(strings.Replace(proxy.URL, "://", "://me:secret@", 1))
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(Options{
		Endpoints: []string{server.URL}, APIKey: "sk_test",
		Proxy: func(*http.Request) (*url.URL, error) {
			return at, nil
		},
	}, quick)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	server.welcome(t)
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := receive(t, asked)
	if r.Method != http.MethodConnect || "http://"+r.Host != server.URL ||
		r.Header.Get("Proxy-Authorization") != "Basic bWU6c2VjcmV0" {
		t.Errorf("the proxy was asked to %s %s with %v", r.Method, r.Host, r.Header)
	}
}

func TestProxyThatRefusesIsNamed(t *testing.T) {
	proxy := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(Options{
		Endpoints: []string{"ws://rt.example.com"}, APIKey: "sk_test",
		Proxy: func(*http.Request) (*url.URL, error) { return at, nil },
	}, quick)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = c.Connect(ctx)
	if err == nil || !strings.Contains(err.Error(), "proxy "+proxy.URL+": it answers 404") {
		t.Errorf("got %v", err)
	}
	none := func(*http.Request) (*url.URL, error) { return nil, errors.New("none") }
	if _, err := (&Options{Proxy: none}).dialThrough("ws://a"); err == nil {
		t.Error("an error of Proxy was passed over")
	}
}

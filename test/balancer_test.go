package test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// balancer is a small TCP load balancer: it sends each new connection to the
// first node whose /readyz says 200, and forgets a node that stops saying so.
type balancer struct {
	listener net.Listener
	nodes    []string // host:port

	mu    sync.Mutex
	ready []string
	conns map[net.Conn]struct{}
}

// startBalancer puts a balancer before nodes until the test ends.
func startBalancer(t *testing.T, nodes []string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l, nodes: nodes, conns: make(map[net.Conn]struct{})}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { b.watch(stop) })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { b.forward(conn) })
		}
	})
	t.Cleanup(func() {
		close(stop)
		l.Close()
		b.mu.Lock()
		for c := range b.conns {
			c.Close()
		}
		b.mu.Unlock()
		wg.Wait()
	})
	return b
}

func (b *balancer) addr() string { return b.listener.Addr().String() }

// watch asks every node ten times a second whether it is ready.
func (b *balancer) watch(stop <-chan struct{}) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		var ready []string
		for _, n := range b.nodes {
			resp, err := client.Get("http://" + n + "/readyz")
			if err != nil {
				continue
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				ready = append(ready, n)
			}
		}
		b.mu.Lock()
		b.ready = ready
		b.mu.Unlock()
		select {
		case <-ticker.C:
		case <-stop:
			return
		}
	}
}

// first returns the node that new connections go to.
func (b *balancer) first() (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ready) == 0 {
		return "", errors.New("no node is ready")
	}
	return b.ready[0], nil
}

func (b *balancer) forward(client net.Conn) {
	defer client.Close()
	addr, err := b.first()
	if err != nil {
		return
	}
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	b.mu.Lock()
	b.conns[client], b.conns[server] = struct{}{}, struct{}{}
	b.mu.Unlock()
	done := make(chan struct{}, 2)
	pipe := func(to, from net.Conn) {
		io.Copy(to, from) // a broken pipe is how connections end here
		done <- struct{}{}
	}
	go pipe(server, client)
	go pipe(client, server)
	<-done
	b.mu.Lock()
	delete(b.conns, client)
	delete(b.conns, server)
	b.mu.Unlock()
}

package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// A thousand clients with long polls come back at once when their node is killed, and when it
// drains. Each is served elsewhere and misses nothing. How long that takes, what it costs, and
// what others of the node that they come to notice of it, is logged.
func TestAThousandPollersComeBack(t *testing.T) {
	settings := []bool{false}
	if long() {
		settings = append(settings, true)
	}
	for _, encrypted := range settings {
		t.Run(fmt.Sprintf("tls=%v", encrypted), func(t *testing.T) { pollersComeBack(t, encrypted) })
	}
}

func pollersComeBack(t *testing.T, encrypted bool) {
	const count, channels = 1000, 10
	options := bench.SpawnOptions{Nodes: 3, Binary: binary, Dir: t.TempDir(), Args: []string{"--drain-spread", "2s"}}
	scheme := "http://"
	if encrypted {
		cert, key := lab.SelfSigned(t, options.Dir)
		options.Args = append(options.Args, "--tls-cert", cert, "--tls-key", key)
		options.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is the test's own
		scheme = "https://"
	}
	c := spawn(t, options)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: options.TLS}}
	operator := func(i int) *client.Admin {
		return &client.Admin{BaseURL: scheme + c.Addr(i), Token: c.AdminToken, HTTP: web}
	}
	native := true
	project := ""
	for p, err := range operator(0).Projects(within(t, deadline)) {
		if err != nil {
			t.Fatal(err)
		}
		project = p.ID
	}
	change := client.ProjectChange{AllowNativeClients: &native}
	if _, err := operator(0).UpdateProject(within(t, deadline), project, change); err != nil {
		t.Fatal(err)
	}
	status, err := operator(0).Status(within(t, deadline))
	if err != nil {
		t.Fatal(err)
	}
	// No election: the node that they leave does not lead. They come to another that does not.
	var followers []int
	for i := range c.Len() {
		if c.Name(i) != status.Leader {
			followers = append(followers, i)
		}
	}
	leaves, comes := followers[0], followers[1]
	at := &victim{addr: c.Addr(comes), tls: options.TLS, keys: c.keys()}
	others := at.befriend(t, 20)

	ctx, cancel := context.WithCancel(t.Context())
	h := &herd{t: t, c: c, tls: options.TLS, order: []int{leaves, comes}}
	var running sync.WaitGroup
	for n := range count {
		p := &poller{herd: h, channel: fmt.Sprintf("poll:%d", n%channels)}
		h.pollers = append(h.pollers, p)
		running.Go(func() { p.run(ctx) })
	}
	defer running.Wait()
	defer cancel()
	to := &client.REST{BaseURL: scheme + c.Addr(comes), APIKey: c.ServerKey, HTTP: web}
	published := uint64(0)
	publish := func() {
		published++
		for n := range channels {
			message := client.Publication{Channel: fmt.Sprintf("poll:%d", n), Data: published}
			if _, err := to.Publish(ctx, message); err != nil {
				t.Error(err)
			}
		}
	}
	publish()
	h.await(published)

	for _, way := range []struct {
		name  string
		leave func(i int) error
	}{
		{"kill -9", c.Kill},
		{"drain", func(i int) error { return c.Stop(within(t, deadline), i) }},
	} {
		before := others.measure(t, time.Second)
		h.mu.Lock()
		h.back, h.refused = nil, make(map[string]int)
		h.mu.Unlock()
		began, spent := time.Now(), cpuTime(t, c.PID(comes))
		h.left.Store(&began)
		left := make(chan error, 1)
		go func() {
			err := way.leave(leaves)
			for range 4 {
				publish()
				time.Sleep(500 * time.Millisecond)
			}
			left <- err
		}()
		during := others.measure(t, 3*time.Second)
		if err := <-left; err != nil {
			t.Fatal(err)
		}
		h.await(published)
		h.left.Store(nil)
		h.mu.Lock()
		slices.Sort(h.back)
		t.Logf("%s: %d came back, half of them after %v, the last after %v; CPU %v; others' p50 %v -> %v, p99 %v -> %v; %v",
			way.name, len(h.back), h.back[len(h.back)/2], h.back[len(h.back)-1], cpuTime(t, c.PID(comes))-spent,
			before.p50, during.p50, before.p99, during.p99, h.refused)
		if len(h.back) != count {
			t.Errorf("%d of %d came back", len(h.back), count)
		}
		h.mu.Unlock()
		if err := c.Start(leaves); err != nil {
			t.Fatal(err)
		}
		if err := c.Ready(within(t, deadline), leaves); err != nil {
			t.Fatal(err)
		}
		leaves, comes = comes, leaves
		at.addr = c.Addr(comes)
		others, to.BaseURL = at.befriend(t, 20), scheme+c.Addr(comes)
		h.mu.Lock()
		h.order = []int{leaves, comes}
		h.mu.Unlock()
	}
}

// herd are clients that poll one node while it is there, and another one when it is not.
type herd struct {
	t       *testing.T
	c       spawned
	tls     *tls.Config
	pollers []*poller
	left    atomic.Pointer[time.Time] // when their node went

	mu      sync.Mutex
	order   []int           // the node that goes, and the one that stays
	back    []time.Duration // since then, until each was answered by the other node
	refused map[string]int
}

// await waits until all have the message with an offset in their channel.
func (h *herd) await(offset uint64) {
	h.t.Helper()
	eventually(h.t, deadline, func() error {
		missing := 0
		for _, p := range h.pollers {
			if p.offset.Load() < offset {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d pollers lack offset %d", missing, offset)
		}
		return nil
	})
}

// poller polls one channel.
type poller struct {
	herd    *herd
	channel string
	offset  atomic.Uint64 // of the last message

	cursor string
	socket net.Conn // nil when there is none
	in     *bufio.Reader
	node   int
	counts *time.Time // herd.left, once it was counted
}

func (p *poller) run(ctx context.Context) {
	defer p.hangUp()
	for turn := 0; ctx.Err() == nil; turn++ {
		p.herd.mu.Lock()
		next := p.herd.order[turn%2]
		p.herd.mu.Unlock()
		if err := p.serve(ctx, next); err != nil && ctx.Err() == nil {
			p.hangUp()
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

func (p *poller) hangUp() {
	if p.socket != nil {
		_ = p.socket.Close()
	}
	p.socket = nil
}

// serve polls a node until that fails.
func (p *poller) serve(ctx context.Context, node int) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	socket, err := dialer.DialContext(ctx, "tcp", p.herd.c.Addr(node))
	if err != nil {
		return err
	}
	if p.herd.tls != nil {
		socket = tls.Client(socket, p.herd.tls)
	}
	p.socket, p.in, p.node = socket, bufio.NewReaderSize(socket, 4096), node
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	for {
		_ = socket.SetDeadline(time.Now().Add(deadline))
		_, err := fmt.Fprintf(socket, "GET /realtime/poll?channel=%s&cursor=%s HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\n\r\n",
			p.channel, p.cursor, p.herd.c.Addr(node), p.herd.c.PublicKey)
		if err != nil {
			return err
		}
		if err := p.take(ctx); err != nil {
			return err
		}
	}
}

// take reads an answer.
func (p *poller) take(ctx context.Context) error {
	res, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, res.Body)
		return p.refused(ctx, res)
	}
	var answer struct {
		Cursor   string
		Channels []struct {
			Gap      *struct{}
			Messages []struct{ Offset uint64 }
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err
	}
	if len(answer.Channels) != 1 || answer.Channels[0].Gap != nil {
		p.herd.t.Errorf("the answer is %+v", answer)
		return io.ErrUnexpectedEOF
	}
	for _, m := range answer.Channels[0].Messages {
		if want := p.offset.Load() + 1; m.Offset != want {
			p.herd.t.Errorf("%s: got offset %d, want %d", p.channel, m.Offset, want)
		}
		p.offset.Store(m.Offset)
	}
	p.cursor = answer.Cursor
	h := p.herd
	if left := h.left.Load(); left != nil && left != p.counts {
		h.mu.Lock()
		if p.node == h.order[1] {
			p.counts = left
			h.back = append(h.back, time.Since(*left).Round(time.Millisecond))
		}
		h.mu.Unlock()
	}
	if res.Close {
		return io.EOF
	}
	return nil
}

// refused waits as long as a refusal asks for.
func (p *poller) refused(ctx context.Context, res *http.Response) error {
	h := p.herd
	h.mu.Lock()
	if h.refused != nil {
		h.refused[res.Status]++
	}
	h.mu.Unlock()
	wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || res.StatusCode != http.StatusServiceUnavailable && res.StatusCode != http.StatusTooManyRequests {
		h.t.Errorf("a poll is refused with %s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
	}
	select {
	case <-time.After(time.Duration(wait) * time.Second):
	case <-ctx.Done():
	}
	return io.EOF
}

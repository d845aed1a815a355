package test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// victim is a node that is attacked.
type victim struct {
	addr string
	tls  *tls.Config // nil for plain TCP
	keys keys
	pid  int

	admin *client.Admin
}

// One client must not cost the others: while it does each of these things, health
// stays good, the node's memory stays bounded, everything that is published reaches
// a hundred others, and the attacker is told why. How long that takes is logged:
// without, with, and while another node of this machine is attacked in the same way.
func TestOneClientDoesNotCostTheOthers(t *testing.T) {
	type setting struct {
		poller string
		tls    bool
	}
	settings := []setting{{"epoll", false}, {"portable", true}}
	if long() {
		settings = append(settings, setting{"portable", false}, setting{"epoll", true})
	}
	for i, s := range settings {
		t.Run(fmt.Sprintf("%s,tls=%v", s.poller, s.tls), func(t *testing.T) {
			v, other := startVictim(t, s.poller, s.tls), (*victim)(nil)
			friendly := v.befriend(t, 100)
			v.fill(t, "big", 100, 60<<10)
			if long() {
				other = startVictim(t, s.poller, s.tls)
				other.fill(t, "big", 100, 60<<10)
			}
			for j, a := range attacks {
				if !long() && j%len(settings) != i {
					continue // each on one of them
				}
				t.Run(a.name, func(t *testing.T) { v.suffer(t, a, friendly, other) })
			}
		})
	}
}

// suffering is what a hundred clients saw, by how their node was attacked.
type suffering struct{ without, control, with []latencies }

// suffer attacks a node, and another one for comparison if there is one.
func (v *victim) suffer(t *testing.T, a attack, friendly *friends, other *victim) {
	const span = 2 * time.Second
	memory, peak, busy := rss(t, v.pid), int64(0), 0.0
	var s suffering
	heard := make(map[string]int)
	ready, unready := new(atomic.Int64), new(atomic.Int64)
	for _, node := range []*victim{v, other} {
		if a.access != nil && node != nil {
			node.change(t, client.ProjectChange{Access: a.access})
		}
	}
	for range rounds(t, 1, 3) {
		s.without = append(s.without, friendly.measure(t, span/2))
		if other != nil {
			stop := other.assault(t, a.name)
			time.Sleep(attackBegins)
			s.control = append(s.control, friendly.measure(t, span))
			stop()
		}
		stop := v.assault(t, a.name)
		ctx, cancel := context.WithCancel(t.Context())
		watched := v.watchReady(ctx, t, ready, unready)
		time.Sleep(attackBegins)
		began, node := time.Now(), cpuTime(t, v.pid)
		s.with = append(s.with, friendly.measure(t, span))
		busy = max(busy, float64(cpuTime(t, v.pid)-node)/float64(time.Since(began)))
		peak = max(peak, rss(t, v.pid))
		cancel()
		<-watched
		for what, n := range stop() {
			heard[what] += n
		}
	}
	t.Logf("%v, processors of the node %.2f, RSS %d -> %d MiB, ready %d of %d, heard %v",
		s, busy, memory>>20, peak>>20, ready.Load(), ready.Load()+unready.Load(), heard)
	if unready.Load() > 0 || ready.Load() == 0 {
		t.Errorf("/readyz was bad %d times of %d", unready.Load(), ready.Load()+unready.Load())
	}
	if p50 := medianOf(s.with).p50; p50 > tooLate {
		t.Errorf("half of the messages took %v", p50)
	}
	if grown := peak - memory; grown > 256<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	told := false
	for what := range heard {
		told = told || slices.ContainsFunc(a.told, func(want string) bool { return strings.HasPrefix(what, want) })
	}
	if !told {
		t.Errorf("the attacker heard %v, nothing of %v", heard, a.told)
	}
}

// tooLate is far more than what an attack may cost, on however slow a machine.
const tooLate = 250 * time.Millisecond

// attackBegins is how long an attack has to be under way.
const attackBegins = 500 * time.Millisecond

func (s suffering) String() string {
	without, control, with := medianOf(s.without), medianOf(s.control), medianOf(s.with)
	text := fmt.Sprintf("p50 %v -> %v, p99 %v -> %v (%.1fx)",
		without.p50, with.p50, without.p99, with.p99, float64(with.p99)/float64(without.p99))
	if len(s.control) > 0 {
		text += fmt.Sprintf("; another node attacked: p50 %v, p99 %v (%.1fx)",
			control.p50, control.p99, float64(control.p99)/float64(without.p99))
	}
	return text
}

// medianOf returns the middle of each figure.
func medianOf(all []latencies) (m latencies) {
	if len(all) == 0 {
		return m
	}
	middle := func(of func(latencies) time.Duration) time.Duration {
		var some []time.Duration
		for _, l := range all {
			some = append(some, of(l))
		}
		slices.Sort(some)
		return some[len(some)/2]
	}
	return latencies{
		middle(func(l latencies) time.Duration { return l.p50 }),
		middle(func(l latencies) time.Duration { return l.p99 }),
	}
}

// watchReady asks for /readyz until ctx ends, as a balancer does that comes from
// another address.
func (v *victim) watchReady(ctx context.Context, t *testing.T, ready, unready *atomic.Int64) (ended chan struct{}) {
	balancer, ended := v.http(net.IPv4(127, 0, 0, 2)), make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			status, err := v.get(ctx, balancer, "/readyz")
			switch {
			case ctx.Err() != nil:
			case err == nil && status == http.StatusOK:
				ready.Add(1)
			default:
				unready.Add(1)
				t.Logf("/readyz: %d, %v", status, err)
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	return ended
}

func (v *victim) http(from net.IP) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	return &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: v.tls},
		Timeout:   deadline,
	}
}

func (v *victim) scheme() string {
	if v.tls != nil {
		return "https://"
	}
	return "http://"
}

func (v *victim) get(ctx context.Context, c *http.Client, path string) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.scheme()+v.addr+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := c.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// friends are clients that must not notice anything.
type friends struct {
	publisher *client.Client
	channels  int
	expected  int // deliveries of one message of each channel

	mu   sync.Mutex
	took []time.Duration
}

// befriend connects subscribers of ten channels and one publisher.
func (v *victim) befriend(t *testing.T, n int) *friends {
	t.Helper()
	f := &friends{channels: 10, expected: n}
	open := func(key string) *client.Client {
		c, err := client.New(client.Options{Endpoints: []string{v.scheme() + v.addr}, APIKey: key, TLSConfig: v.tls})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if err := c.Connect(within(t, deadline)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	f.publisher = open(v.keys.server)
	for i := range n {
		_, err := open(v.keys.public).Subscribe(within(t, deadline), fmt.Sprintf("good:%d", i%f.channels),
			client.SubscribeOptions{
				From: client.Live(),
				OnMessage: func(m client.Message) {
					at, err := strconv.ParseInt(string(m.Data), 10, 64)
					if err != nil {
						return
					}
					f.mu.Lock()
					defer f.mu.Unlock()
					f.took = append(f.took, time.Duration(time.Now().UnixNano()-at))
				},
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

type latencies struct{ p50, p99 time.Duration }

// measure publishes for a while and waits until all of it has reached all.
func (f *friends) measure(t *testing.T, span time.Duration) latencies {
	t.Helper()
	f.mu.Lock()
	f.took = nil
	f.mu.Unlock()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	sent := 0
	for end := time.Now().Add(span); time.Now().Before(end); sent++ {
		err := f.publisher.PublishAsync(within(t, deadline), client.Publication{
			Channel: fmt.Sprintf("good:%d", sent%f.channels), Data: time.Now().UnixNano(),
		}, func(_ client.Receipt, err error) {
			if err != nil {
				t.Errorf("publish: %v", err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-ticker.C
	}
	want := sent * f.expected / f.channels
	eventually(t, deadline, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.took) != want {
			return fmt.Errorf("%d of %d messages were delivered", len(f.took), want)
		}
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.took)
	return latencies{
		f.took[len(f.took)/2].Round(10 * time.Microsecond),
		f.took[len(f.took)*99/100].Round(10 * time.Microsecond),
	}
}

// fill publishes n messages of a size to a channel.
func (v *victim) fill(t *testing.T, channel string, n, size int) {
	t.Helper()
	for range n {
		body := fmt.Sprintf(`{"channel":%q,"message":%q}`, channel, strings.Repeat("x", size))
		request, err := http.NewRequestWithContext(within(t, deadline), http.MethodPost, v.scheme()+v.addr+"/realtime",
			strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Api-Key", v.keys.server)
		response, err := v.http(net.IPv4(127, 0, 0, 3)).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("publish: %s", response.Status)
		}
	}
}

// rss is the memory of a process.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(status))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// cpuTime is what a process has spent of the processors.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(stat), ") ") // a name may have spaces
	var ticks int64
	for _, field := range strings.Fields(fields)[11:13] { // utime and stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

// startVictim starts a single node whose project lets programs in that are no
// browsers.
func startVictim(t *testing.T, poller string, encrypted bool) *victim {
	t.Helper()
	dir := t.TempDir()
	args := []string{"--poller", poller}
	v := &victim{}
	scheme := "http://"
	if encrypted {
		cert, key := lab.SelfSigned(t, dir)
		args = append(args, "--tls-cert", cert, "--tls-key", key)
		v.tls = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is the test's own
		scheme = "https://"
	}
	c := spawn(t, bench.SpawnOptions{Nodes: 1, Binary: binary, Dir: t.TempDir(), Args: args, TLS: v.tls})
	v.addr, v.keys, v.pid = c.Addr(0), c.keys(), c.PID(0)
	v.admin = &client.Admin{BaseURL: scheme + v.addr, Token: v.keys.admin, HTTP: v.http(net.IPv4(127, 0, 0, 4))}
	native := true
	v.change(t, client.ProjectChange{AllowNativeClients: &native})
	return v
}

// change changes the node's project.
func (v *victim) change(t *testing.T, change client.ProjectChange) {
	t.Helper()
	for project, err := range v.admin.Projects(within(t, deadline)) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.admin.UpdateProject(within(t, deadline), project.ID, change); err != nil {
			t.Fatal(err)
		}
	}
}

package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
)

// An attack is what one client, or many connections of it, does to a node with a
// public key or with none, while a hundred others use it.
type attack struct {
	name        string
	connections int
	told        []string // what the attacker hears, one of them: a code, or a status line
	run         func(ctx context.Context, v *victim, tell func(string))
}

// closed is what is heard of a TLS connection that ends before it has begun.
const closed = "closed"

// victim is a node that is attacked.
type victim struct {
	addr string
	tls  *tls.Config // nil for plain TCP
	keys keys
	pid  int
}

var attacks = []attack{
	{"empty frames", 150, []string{"rate_limited"}, func(ctx context.Context, v *victim, tell func(string)) {
		v.flood(ctx, tell, v.keys.public, `{}`)
	}},
	{"unsubscribes", 150, []string{"rate_limited"}, func(ctx context.Context, v *victim, tell func(string)) {
		v.flood(ctx, tell, v.keys.public, `{"type":"unsubscribe","channel":"x"}`)
	}},
	{"heartbeats before auth", 150, []string{"auth_required"}, func(ctx context.Context, v *victim, tell func(string)) {
		v.flood(ctx, tell, "", `{"type":"heartbeat"}`)
	}},
	{"history", 32, []string{"HTTP/1.1 429"}, func(ctx context.Context, v *victim, tell func(string)) {
		v.ask(ctx, tell, true, "GET /realtime/history?channel=big&limit=1000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: "+v.keys.public+"\r\n\r\n")
	}},
	{"history unread", 352, []string{"HTTP/1.1 429"}, func(ctx context.Context, v *victim, tell func(string)) {
		v.ask(ctx, tell, false, "GET /realtime/history?channel=big&limit=1000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: "+v.keys.public+"\r\n\r\n")
	}},
	{"idle keep-alive", 1500, []string{"HTTP/1.1 429", closed}, func(ctx context.Context, v *victim, tell func(string)) {
		v.ask(ctx, tell, false, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	}},
	{"bodies without a right", 64, []string{"HTTP/1.1 403"}, func(ctx context.Context, v *victim, tell func(string)) {
		v.ask(ctx, tell, true, "POST /realtime/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\nx-api-key: "+
			v.keys.public+"\r\n\r\n")
	}},
}

func (v *victim) dial(ctx context.Context) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if v.tls != nil {
		return (&tls.Dialer{NetDialer: dialer, Config: v.tls}).DialContext(ctx, "tcp", v.addr)
	}
	return dialer.DialContext(ctx, "tcp", v.addr)
}

// again does something on a new connection until ctx ends.
func (v *victim) again(ctx context.Context, tell func(string), do func(net.Conn)) {
	for ctx.Err() == nil {
		if socket, err := v.dial(ctx); err == nil {
			stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
			do(socket)
			stop()
			_ = socket.Close()
		} else if v.tls != nil && ctx.Err() == nil {
			tell(closed) // before TLS there is nothing to say it in
		}
		select {
		case <-time.After(250 * time.Millisecond): // the attacker's own work is not what is measured
		case <-ctx.Done():
		}
	}
}

// flood sends one frame as fast as it is taken, after an auth if there is a key,
// and reads what comes back.
func (v *victim) flood(ctx context.Context, tell func(string), key, text string) {
	frame := func(text string) []byte { return ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(text)))) }
	batch := bytes.Repeat(frame(text), 1000)
	v.again(ctx, tell, func(socket net.Conn) {
		hello := []byte("GET /realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
		if key != "" {
			hello = append(hello, frame(`{"type":"auth","apiKey":"`+key+`"}`)...)
		}
		if _, err := socket.Write(hello); err != nil {
			return
		}
		go hear(socket, tell)
		for {
			if _, err := socket.Write(batch); err != nil {
				return
			}
		}
	})
}

// hear tells of the codes and status lines in what a server says.
func hear(socket net.Conn, tell func(string)) {
	buf := make([]byte, 32<<10)
	for {
		n, err := socket.Read(buf)
		for part := range bytes.SplitSeq(buf[:n], []byte(`"code":"`)) {
			if code, _, found := bytes.Cut(part, []byte(`"`)); found &&
				!bytes.ContainsFunc(code, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
				tell(string(code))
			}
		}
		if status, _, found := bytes.Cut(buf[:n], []byte("\r\n")); found && bytes.HasPrefix(status, []byte("HTTP/1.1 ")) {
			tell(string(status))
		}
		if err != nil {
			return
		}
	}
}

// ask makes a request again and again, or waits without reading the answer except for
// its first line.
func (v *victim) ask(ctx context.Context, tell func(string), read bool, request string) {
	v.again(ctx, tell, func(socket net.Conn) {
		if _, err := io.WriteString(socket, request); err != nil {
			return
		}
		in := bufio.NewReaderSize(socket, 64)
		status, err := in.ReadString('\n')
		if err != nil {
			return
		}
		tell(strings.TrimSpace(status))
		if read {
			_ = socket.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = io.Copy(io.Discard, in)
			return
		}
		if strings.HasPrefix(status, "HTTP/1.1 200") {
			<-ctx.Done()
		}
	})
}

// One client must not cost the others: while it does each of these things, health
// stays good, the node's memory stays bounded, everything that is published reaches
// a hundred others, and the attacker is told why. How long that takes, with and
// without, is logged.
func TestOneClientDoesNotCostTheOthers(t *testing.T) {
	type setting struct {
		poller string
		tls    bool
	}
	settings := []setting{{"epoll", false}, {"portable", true}}
	if long() {
		settings = append(settings, setting{"portable", false}, setting{"epoll", true})
	}
	for _, s := range settings {
		t.Run(fmt.Sprintf("%s,tls=%v", s.poller, s.tls), func(t *testing.T) {
			v := startVictim(t, s.poller, s.tls)
			crowd := v.befriend(t, 100)
			v.fill(t, "big", 100, 60<<10)
			for _, a := range attacks {
				t.Run(a.name, func(t *testing.T) { v.suffer(t, a, crowd) })
			}
		})
	}
}

func (v *victim) suffer(t *testing.T, a attack, crowd *friends) {
	span := time.Duration(rounds(t, 2, 8)) * time.Second
	before, memory := crowd.measure(t, span), rss(t, v.pid)
	var mu sync.Mutex
	heard := make(map[string]int)
	ctx, cancel := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	for range a.connections {
		attackers.Go(func() {
			a.run(ctx, v, func(what string) {
				mu.Lock()
				defer mu.Unlock()
				heard[what]++
			})
		})
	}
	ready, unready := v.watchReady(ctx, t)
	time.Sleep(500 * time.Millisecond) // the attack is under way
	began, node, own := time.Now(), cpuTime(t, strconv.Itoa(v.pid)), cpuTime(t, "self")
	during := crowd.measure(t, span)
	node, own = cpuTime(t, strconv.Itoa(v.pid))-node, cpuTime(t, "self")-own
	span = time.Since(began)
	nodeBusy, ownBusy := float64(node)/float64(span), float64(own)/float64(span)
	peak := rss(t, v.pid)
	cancel()
	attackers.Wait()
	mu.Lock()
	defer mu.Unlock()
	t.Logf("p50 %v -> %v, p99 %v -> %v (%.1fx), processors of the node %.2f, of attackers and friends %.2f, "+
		"RSS %d -> %d MiB, ready %d of %d, heard %v",
		before.p50, during.p50, before.p99, during.p99, float64(during.p99)/float64(before.p99), nodeBusy, ownBusy,
		memory>>20, peak>>20, ready.Load(), ready.Load()+unready.Load(), heard)
	if unready.Load() > 0 || ready.Load() == 0 {
		t.Errorf("/readyz was bad %d times of %d", unready.Load(), ready.Load()+unready.Load())
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

// watchReady asks for /readyz until ctx ends, as a balancer does that comes from
// another address.
func (v *victim) watchReady(ctx context.Context, t *testing.T) (ready, unready *atomic.Int64) {
	ready, unready = new(atomic.Int64), new(atomic.Int64)
	balancer := v.http(net.IPv4(127, 0, 0, 2))
	var asking sync.WaitGroup
	t.Cleanup(asking.Wait)
	asking.Go(func() {
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
	})
	return ready, unready
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
	ticker := time.NewTicker(20 * time.Millisecond)
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

// cpuTime is what a process, or "self", has spent of the processors.
func cpuTime(t *testing.T, pid string) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
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
		cert, key := selfSigned(t, dir)
		args = append(args, "--tls-cert", cert, "--tls-key", key)
		v.tls = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is the test's own
		scheme = "https://"
	}
	c := spawn(t, bench.SpawnOptions{Nodes: 1, Binary: binary, Dir: t.TempDir(), Args: args, TLS: v.tls})
	v.addr, v.keys, v.pid = c.Addr(0), c.keys(), c.PID(0)
	native, admin := true, &client.Admin{
		BaseURL: scheme + v.addr, Token: v.keys.admin,
		HTTP: v.http(net.IPv4(127, 0, 0, 4)),
	}
	for project, err := range admin.Projects(within(t, deadline)) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.UpdateProject(within(t, deadline), project.ID,
			client.ProjectChange{AllowNativeClients: &native}); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// selfSigned writes a certificate for loopback and its key.
func selfSigned(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

package test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

const sdkFolder = "../sdk/js"

// TestOwnSDK runs the one suite of sdk/js on each runtime that is there, against
// three nodes that the suite kills, drains and cuts off through a control server.
func TestOwnSDK(t *testing.T) {
	needOwnSDK(t)
	for _, runtime := range []struct {
		name, env string
		command   []string
	}{
		{"node with ws", "WS=ws", []string{"node", "test/run.mjs"}},
		{"node", "", []string{"node", "--experimental-websocket", "test/run.mjs"}},
		{"node over SSE", "TRANSPORTS=sse", []string{"node", "test/run.mjs"}},
		{"bun", "", []string{ownRuntime(t, "@oven/bun-*/bin/bun", ".bin/bun"), "test/run.mjs"}},
		{"deno", "", []string{ownRuntime(t, "@deno/*/deno", ".bin/deno"), "run", "-A", "--no-prompt", "test/run.mjs"}},
		{"chromium", "", []string{"node", "test/page.mjs"}},
		{"react", "", []string{"node", "test/react.mjs"}},
		{"chat example", "", []string{"node", "test/chat.mjs"}},
		{"official readme", "OFFICIAL=" + officialReadme, []string{"node", "test/official.mjs"}},
	} {
		t.Run(runtime.name, func(t *testing.T) {
			t.Parallel()
			if slices.Contains([]string{"chromium", "react", "chat example", "official readme"}, runtime.name) {
				lab.NeedTool(t, "chromium")
			}
			cmd := exec.Command(runtime.command[0], runtime.command[1:]...)
			cmd.Dir = sdkFolder
			cmd.Env = append(os.Environ(), "CONTROL="+startControl(t), runtime.env)
			if runtime.env == "TRANSPORTS=sse" {
				cmd.Env = append(cmd.Env, "ONLY="+cmp.Or(os.Getenv("ONLY"), overSSE))
			}
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			reportSuite(t, out)
			if err != nil {
				t.Errorf("the suite ends with %v", err)
			}
		})
	}
}

// overSSE are the tests that show a promise which another transport could break.
const overSSE = "every kind of value|an id once|replays what|begins where|kill -9|with the reason|" +
	"renews a token|loads state|tells of a gap|draining node|no presence"

const officialReadme = "../../test/sdk/node_modules/@aptly-sdk/brook/README.md"

// needOwnSDK skips the test where sdk/js was not built.
func needOwnSDK(t *testing.T) {
	t.Helper()
	lab.NeedTool(t, "node")
	if _, err := os.Stat(sdkFolder + "/dist/index.js"); err != nil {
		lab.Need(t, "the build of sdk/js (make sdk) is missing")
	}
}

// ownRuntime returns the path of a runtime that npm has brought for this machine. It is
// in the package for this platform, unless a script of the main one has moved it, which
// npm may not have run.
func ownRuntime(t *testing.T, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(sdkFolder, "node_modules", pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			path, err := filepath.Abs(found[0])
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	t.Fatalf("npm ci has brought none of %v", patterns)
	return ""
}

// TestOwnSDKPackage checks what is published: its sizes, its types, and that every
// resolver finds its entries.
func TestOwnSDKPackage(t *testing.T) {
	needOwnSDK(t)
	for _, script := range []string{"size", "types", "package", "reference"} {
		t.Run(script, func(t *testing.T) {
			cmd := exec.Command("npm", "run", "--silent", script)
			cmd.Dir = sdkFolder
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestOwnSDKVersion holds the two places together that say which version the package is.
func TestOwnSDKVersion(t *testing.T) {
	source, err := os.ReadFile(sdkFolder + "/src/client.ts")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(sdkFolder + "/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Version string }
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	if want := "const version = '" + manifest.Version + "';"; !bytes.Contains(source, []byte(want)) {
		t.Errorf("src/client.ts does not say %s", want)
	}
}

// reportSuite makes a subtest of each line that the suite printed.
func reportSuite(t *testing.T, out []byte) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(out))
	n := 0
	for lines.Scan() {
		var result struct {
			Name  string `json:"name"`
			OK    bool   `json:"ok"`
			Error string `json:"error"`
			MS    int    `json:"ms"`
			Note  string `json:"note"`
		}
		if err := json.Unmarshal(lines.Bytes(), &result); err != nil {
			t.Errorf("the suite prints %q", lines.Text())
			continue
		}
		n++
		t.Run(result.Name, func(t *testing.T) {
			t.Logf("%d ms %s", result.MS, result.Note)
			if !result.OK {
				t.Error(result.Error)
			}
		})
	}
	if n == 0 {
		t.Error("the suite ran no test")
	}
}

// controller lets the suite break the cluster: HTTP calls, any origin.
type controller struct {
	t     *testing.T
	c     spawned
	proxy *freezer
	gate  *gate

	mu   sync.Mutex
	load *steadyLoad
}

// startControl starts three nodes and the control server, and returns its address.
func startControl(t *testing.T) string {
	t.Helper()
	c := startCluster(t, 3, "--heartbeat", "1s", "--drain-spread", "2s", "--failed-auth-burst", "1000")
	// The suite runs in a page, too, from a port of its own.
	origins := []string{"http://127.0.0.1:*"}
	project := defaultProject(t, c).ID
	rules := []client.Rule{ // the suite's own channels, and those of its pages with React
		{Pattern: "t*", Presence: &client.PresenceRule{}},
		{Pattern: "react*", Presence: &client.PresenceRule{Anonymous: true}},
	}
	access := client.Access{
		Subscribe: []string{"*"}, Publish: []client.PublishGrant{}, Presence: []string{"react*"}, Members: []string{"react*"},
	}
	if _, err := admin(c, 0).UpdateProject(within(t, deadline), project,
		client.ProjectChange{AllowedOrigins: &origins, Rules: &rules, Access: &access}); err != nil {
		t.Fatal(err)
	}
	ctl := &controller{t: t, c: c, proxy: startFreezer(t, c.Addr(0)), gate: startGate(t, url(c, 0))}
	server := httptest.NewServer(ctl)
	t.Cleanup(server.Close)
	t.Cleanup(func() { _, _ = ctl.stopLoad() })
	return server.URL
}

func (ctl *controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	answer, err := ctl.call(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (ctl *controller) call(r *http.Request) (any, error) {
	ctx := r.Context()
	q := r.URL.Query()
	node, _ := strconv.Atoi(q.Get("node"))
	done := map[string]any{"ok": true}
	switch r.URL.Path {
	case "/info":
		page, err := rest(ctl.c, 0).History(ctx, "none", 0, 1)
		if err != nil {
			return nil, err
		}
		return map[string]any{
			"endpoints": ctl.c.Servers(), "proxy": "ws://" + ctl.proxy.addr(), "epoch": page.Epoch,
			"publicKey": ctl.c.PublicKey, "serverKey": ctl.c.ServerKey,
			"gate": "ws" + strings.TrimPrefix(ctl.gate.URL, "http"),
		}, nil
	case "/gate":
		return map[string]any{"upgrades": ctl.gate.treat(q.Get("upgrades"))}, nil
	case "/transports":
		return ctl.transports(ctx, q.Get("channel"))
	case "/kill":
		return done, ctl.c.Kill(node)
	case "/stop":
		return done, ctl.c.Stop(ctx, node)
	case "/start":
		return done, ctl.c.Restart(ctx, node)
	case "/proxy/freeze":
		ctl.proxy.set(true)
		return done, nil
	case "/proxy/thaw":
		ctl.proxy.set(false)
		return done, nil
	case "/publish":
		from, _ := strconv.Atoi(q.Get("from"))
		to, _ := strconv.Atoi(q.Get("to"))
		for n := from; n <= to; {
			var batch []client.Publication
			for ; n <= to && len(batch) < 500; n++ {
				batch = append(batch, client.Publication{Channel: q.Get("channel"), Data: n})
			}
			if _, err := rest(ctl.c, 0).Batch(ctx, batch); err != nil {
				return nil, err
			}
		}
		return done, nil
	case "/load/start":
		rate, _ := strconv.Atoi(q.Get("rate"))
		return done, ctl.startLoad(q.Get("channel"), rate)
	case "/load/stop":
		n, err := ctl.stopLoad()
		return map[string]any{"acknowledged": n}, err
	case "/key/create":
		key, err := admin(ctl.c, 0).CreateKey(ctx, ctl.project(), "server", "sdk")
		return map[string]any{"key": key.Text, "id": key.ID, "signingSecret": key.SigningSecret}, err
	case "/project/create":
		project, err := admin(ctl.c, 0).CreateProject(ctx,
			client.ProjectSpec{Name: "origins", AllowedOrigins: []string{q.Get("origin")}})
		if err != nil {
			return nil, err
		}
		for _, key := range project.Keys {
			if key.Kind == "public" {
				return map[string]any{"key": key.Text}, nil
			}
		}
		return nil, errors.New("the project has no public key")
	case "/key/revoke":
		return done, admin(ctl.c, 0).RevokeKey(ctx, q.Get("id"))
	case "/token":
		return ctl.token(r)
	}
	return nil, fmt.Errorf("no call %s", r.URL.Path)
}

func (ctl *controller) project() string { return defaultProject(ctl.t, ctl.c).ID }

// token mints a token that lives for some seconds and may do everything in a channel.
func (ctl *controller) token(r *http.Request) (any, error) {
	seconds, _ := strconv.Atoi(r.URL.Query().Get("seconds"))
	key, err := admin(ctl.c, 0).CreateKey(r.Context(), ctl.project(), "server", "sdk")
	if err != nil {
		return nil, err
	}
	token, err := client.Token{
		KeyID: key.ID, ExpiresAt: time.Now().Add(time.Duration(seconds) * time.Second),
		Channels: map[string][]string{r.URL.Query().Get("channel"): {"subscribe", "publish"}},
	}.Sign(key.SigningSecret)
	return map[string]any{"token": token}, err
}

// steadyLoad publishes numbers, each repeated until it is acknowledged.
type steadyLoad struct {
	stop chan struct{}
	done chan struct{}
	n    int
}

func (ctl *controller) startLoad(channel string, rate int) error {
	ctl.mu.Lock()
	defer ctl.mu.Unlock()
	if ctl.load != nil {
		return errors.New("a load is running")
	}
	cl, err := client.New(client.Options{Endpoints: ctl.c.Servers()[:1], APIKey: ctl.c.ServerKey})
	if err != nil {
		return err
	}
	l := &steadyLoad{stop: make(chan struct{}), done: make(chan struct{})}
	ctl.load = l
	go func() {
		defer close(l.done)
		defer cl.Close()
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			if _, err := cl.Publish(ctl.t.Context(), client.Publication{Channel: channel, Data: l.n + 1}); err != nil {
				ctl.t.Logf("load: %v", err)
				return
			}
			l.n++
		}
	}()
	return nil
}

func (ctl *controller) stopLoad() (int, error) {
	ctl.mu.Lock()
	defer ctl.mu.Unlock()
	l := ctl.load
	if l == nil {
		return 0, errors.New("no load is running")
	}
	ctl.load = nil
	close(l.stop)
	<-l.done
	return l.n, nil
}

// transports returns how the subscribers of a channel are connected.
func (ctl *controller) transports(ctx context.Context, channel string) ([]string, error) {
	found := []string{}
	for connection, err := range admin(ctl.c, 0).AllConnections(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		if slices.Contains(connection.Channels, channel) {
			found = append(found, connection.Transport)
		}
	}
	return found, nil
}

// gate is a proxy that may let no WebSocket pass, as those of companies do.
type gate struct {
	*httptest.Server

	mu        sync.Mutex
	treatment string // of upgrades: "pass", "refuse" or "swallow"
	upgrades  int
}

func startGate(t *testing.T, node string) *gate {
	t.Helper()
	target, err := neturl.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: log.New(io.Discard, "", 0),
	}
	g := &gate{treatment: "pass"}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch g.treatmentOf(r) {
		case "refuse":
			http.Error(w, "no WebSockets here", http.StatusForbidden)
		case "swallow":
			<-r.Context().Done() // until the client gives up
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
	})
	return g
}

// treat says what is done with upgrades from now on, unless it is empty. It returns how many have come.
func (g *gate) treat(upgrades string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.treatment = cmp.Or(upgrades, g.treatment)
	return g.upgrades
}

func (g *gate) treatmentOf(r *http.Request) string {
	if r.Header.Get("Upgrade") == "" {
		return "pass"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.upgrades++
	return g.treatment
}

// freezer is a TCP proxy that can stop passing anything on, without closing.
type freezer struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	flowing chan struct{} // closed while bytes pass
}

func startFreezer(t *testing.T, target string) *freezer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezer{listener: l, target: target, flowing: make(chan struct{})}
	close(f.flowing)
	t.Cleanup(func() {
		f.set(false)
		_ = l.Close()
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return f
}

func (f *freezer) addr() string { return f.listener.Addr().String() }

func (f *freezer) set(frozen bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.flowing:
		if frozen {
			f.flowing = make(chan struct{})
		}
	default:
		if !frozen {
			close(f.flowing)
		}
	}
}

func (f *freezer) wait() {
	f.mu.Lock()
	flowing := f.flowing
	f.mu.Unlock()
	<-flowing
}

func (f *freezer) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	f.wait()
	up, err := net.Dial("tcp", f.target)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	go f.pass(up, conn)
	f.pass(conn, up)
}

func (f *freezer) pass(to, from net.Conn) {
	defer func() { _ = to.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		f.wait()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

package console

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// pageSays is one line of eventsource.mjs.
type pageSays struct {
	Protocol string
	Channel  string
	Offset   uint64
	Socket   uint64 // an offset
	Network  string // as it is from now on
	Gap      *pageGap
	Problem  string
}

type pageGap struct {
	Channel  string
	From, To uint64
}

// The EventSource of docs/sse.md, in a browser that speaks HTTP/2 to an nginx with its stock
// settings, shows everything: while it is idle for longer than the proxy's time-out, through
// kill -9 of its node, and through a drain. When it comes back so late that retention has
// overtaken its cursor, it shows exactly what is gone.
func TestEventSourceGoesOn(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, chromium := startCluster(ctx, t, 3, "--heartbeat", "1s", "--trusted-proxies", "127.0.0.1/32")
	certificate, key := lab.SelfSigned(t, t.TempDir())
	at := "https://" + lab.StartNginx(t, func(port string) string {
		return fmt.Sprintf(`
	upstream nodes { server %s; server %s; server %s; }
	server {
		listen 127.0.0.1:%s ssl http2;
		ssl_certificate %s;
		ssl_certificate_key %s;
		location / {
			proxy_pass http://nodes;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_read_timeout 3s; # 60 s where nothing is said
		}
	}`, c.Addr(0), c.Addr(1), c.Addr(2), port, certificate, key)
	})
	admin := &client.Admin{BaseURL: "http://" + c.Addr(0), Token: c.AdminToken}
	origins := []string{at}
	const kept = 20
	rules := []client.Rule{{Pattern: "*", KeepMessages: kept}}
	project := defaultProject(ctx, t, c)
	change := client.ProjectChange{AllowedOrigins: &origins, Rules: &rules}
	if _, err := admin.UpdateProject(ctx, project.ID, change); err != nil {
		t.Fatal(err)
	}
	says, tell := startEventSource(
		ctx,
		t,
		"CHROMIUM="+chromium,
		"BASE="+at,
		"KEY="+c.PublicKey,
		"RECIPE="+eventSourceRecipe(t),
	)

	shown := make(map[string]uint64)
	gaps := make(map[string]pageGap)
	published := uint64(0)
	publish := func(n int, via int) {
		t.Helper()
		rest := &client.REST{BaseURL: "http://" + c.Addr(via), APIKey: c.ServerKey}
		for range n {
			published++
			for _, channel := range []string{"news", "chat:17"} {
				for {
					_, err := rest.Publish(ctx, client.Publication{Channel: channel, ID: fmt.Sprint(published), Data: published})
					if err == nil {
						break
					}
					if ctx.Err() != nil {
						t.Fatal(err)
					}
					time.Sleep(50 * time.Millisecond)
				}
			}
		}
	}
	await := func(what string) {
		t.Helper()
		for shown["news"] < published || shown["chat:17"] < published {
			select {
			case line, more := <-says:
				switch {
				case !more || line.Problem != "":
					t.Fatalf("%s: %+v, shown %v", what, line, shown)
				case line.Gap != nil && line.Gap.From != shown[line.Gap.Channel]+1:
					t.Fatalf("%s: a gap %+v, shown %v", what, *line.Gap, shown)
				case line.Gap != nil:
					gaps[line.Gap.Channel] = *line.Gap
					shown[line.Gap.Channel] = line.Gap.To
				case line.Protocol != "" && line.Protocol != "h2":
					t.Errorf("the browser speaks %s", line.Protocol)
				case line.Channel != "" && line.Offset > shown[line.Channel]+1:
					t.Fatalf("%s: offset %d of %s is shown after %d", what, line.Offset, line.Channel, shown[line.Channel])
				case line.Channel != "":
					shown[line.Channel] = max(shown[line.Channel], line.Offset)
				}
			case <-ctx.Done():
				t.Fatalf("%s: shown %v of %d", what, shown, published)
			}
		}
	}
	publish(3, 0)
	await("at first")
	first := nodeOfStream(ctx, t, c, admin)
	time.Sleep(5 * time.Second) // longer than the proxy's time-out: nothing must happen, which no condition tells
	publish(1, 1)
	await("after a rest")
	if now := nodeOfStream(ctx, t, c, admin); now != first {
		t.Errorf("the stream went from node %d to node %d while it was idle", first, now)
	}
	if err := c.Kill(first); err != nil {
		t.Fatal(err)
	}
	publish(5, (first+1)%3)
	await("after kill -9")
	if err := c.Start(first); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(ctx, first); err != nil {
		t.Fatal(err)
	}
	admin.BaseURL = "http://" + c.Addr(first)
	second := nodeOfStream(ctx, t, c, admin)
	if err := c.Stop(ctx, second); err != nil {
		t.Fatal(err)
	}
	publish(5, (second+1)%3)
	await("after a drain")
	if len(gaps) > 0 {
		t.Errorf("gaps are told where nothing is gone: %+v", gaps)
	}

	seen := published
	tell("offline")
	for line := range says {
		if line.Network == "offline" {
			break
		}
	}
	endStreams(ctx, t, admin)
	publish(3*kept, first)
	tell("online")
	await("after retention has overtaken it")
	for _, channel := range []string{"news", "chat:17"} {
		if want := (pageGap{channel, seen + 1, published - kept}); gaps[channel] != want {
			t.Errorf("the page is told of the gap %+v, want %+v", gaps[channel], want)
		}
	}
}

// Behind HAProxy and Caddy, set up as docs/proxies.md has it, the browser speaks HTTP/2. Both
// EventSource and WebSockets pass.
func TestBrowserSpeaksHTTP2ToProxies(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, chromium := startCluster(ctx, t, 1, "--trusted-proxies", "127.0.0.1/32")
	certificate, key := lab.SelfSigned(t, t.TempDir())
	cert, both := readFile(t, certificate)+readFile(t, key), filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(both, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	docs := readFile(t, "../../docs/proxies.md")
	block := func(language string) string {
		_, text, _ := strings.Cut(docs, "```"+language+"\n")
		text, _, _ = strings.Cut(text, "```")
		return text
	}
	atNode := []string{"10.0.0.1:8080", c.Addr(0), "10.0.0.2:8080", c.Addr(0), "10.0.0.3:8080", c.Addr(0)}
	proxies := map[string]string{
		"haproxy": lab.StartHAProxy(t, func(port string) string {
			line := strings.NewReplacer("bind :443", "bind 127.0.0.1:"+port, "/etc/haproxy/rt.example.com.pem", both)
			text := strings.Replace(
				readFile(t, "../../packaging/haproxy.cfg"),
				"    bind :80\n",
				line.Replace(block("haproxy")),
				1,
			)
			return strings.NewReplacer(atNode...).Replace(text)
		}),
		"caddy": lab.StartCaddy(t, func(port string) string {
			site := []string{"rt.example.com {", "https://127.0.0.1:" + port + " {\n\ttls " + certificate + " " + key}
			return "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" +
				strings.NewReplacer(append(site, atNode...)...).Replace(block("caddy"))
		}),
	}
	admin := &client.Admin{BaseURL: "http://" + c.Addr(0), Token: c.AdminToken}
	origins := []string{"https://127.0.0.1:*"}
	project := defaultProject(ctx, t, c)
	if _, err := admin.UpdateProject(ctx, project.ID, client.ProjectChange{AllowedOrigins: &origins}); err != nil {
		t.Fatal(err)
	}
	rest := &client.REST{BaseURL: "http://" + c.Addr(0), APIKey: c.ServerKey}
	for name, at := range proxies {
		says, _ := startEventSource(ctx, t, "CHROMIUM="+chromium, "BASE=https://"+at, "KEY="+c.PublicKey,
			"RECIPE="+eventSourceRecipe(t), "SOCKET=news")
		receipt, err := rest.Publish(ctx, client.Publication{Channel: "news", Data: name})
		if err != nil {
			t.Fatal(err)
		}
		for protocol, events, socket := "", uint64(0), uint64(0); events < receipt.Offset || socket < receipt.Offset; {
			select {
			case line, more := <-says:
				if !more || line.Problem != "" || line.Gap != nil {
					t.Fatalf("%s: %+v", name, line)
				}
				if protocol = cmp.Or(protocol, line.Protocol); protocol != "h2" {
					t.Fatalf("the browser speaks %q to %s", protocol, name)
				}
				events, socket = max(events, line.Offset), max(socket, line.Socket)
			case <-ctx.Done():
				t.Fatalf("%s: offset %d has come over %s to EventSource %d, WebSocket %d",
					name, receipt.Offset, protocol, events, socket)
			}
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// endStreams closes the connections of all clients, who cannot come back.
func endStreams(ctx context.Context, t *testing.T, admin *client.Admin) {
	t.Helper()
	for {
		left := 0
		var failed error
		for connection, err := range admin.AllConnections(ctx, "", "") {
			if failed = err; err == nil {
				left++
				_ = admin.Disconnect(ctx, connection.ID) // it may have ended meanwhile
			}
		}
		if failed == nil && left == 0 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d clients are connected (%v)", left, failed)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// nodeOfStream returns the node that the page's stream is on.
func nodeOfStream(ctx context.Context, t *testing.T, c *bench.Cluster, admin *client.Admin) int {
	t.Helper()
	for {
		for connection, err := range admin.AllConnections(ctx, "", "") {
			for i := range c.Len() {
				if err == nil && connection.Node == c.Name(i) {
					return i
				}
			}
		}
		if ctx.Err() != nil {
			t.Fatal("the page has no stream")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// startEventSource opens the page. It returns what the page says, and what tells eventsource.mjs.
func startEventSource(ctx context.Context, t *testing.T, env ...string) (<-chan pageSays, func(line string)) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "node", "eventsource.mjs")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	says := make(chan pageSays, 1000)
	go func() {
		defer close(says)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var line pageSays
			if json.Unmarshal(lines.Bytes(), &line) == nil {
				says <- line
			}
		}
	}()
	return says, func(line string) {
		if _, err := fmt.Fprintln(in, line); err != nil {
			t.Fatal(err)
		}
	}
}

// eventSourceRecipe returns the lines for a page in docs/sse.md.
func eventSourceRecipe(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/sse.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```js\n")
	recipe, _, found := strings.Cut(rest, "```")
	if !found || !strings.Contains(recipe, "new EventSource") {
		t.Fatal("docs/sse.md has no EventSource")
	}
	return recipe
}

package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
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
	Gap      *struct{ From, To uint64 }
	Problem  string
}

// The EventSource of docs/sse.md, in a browser that speaks HTTP/2 to an nginx with its stock
// settings, shows everything: while it is idle for longer than the proxy's time-out, through
// kill -9 of its node, and through a drain.
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
	project := defaultProject(ctx, t, c)
	if _, err := admin.UpdateProject(ctx, project.ID, client.ProjectChange{AllowedOrigins: &origins}); err != nil {
		t.Fatal(err)
	}
	says := startEventSource(ctx, t, "CHROMIUM="+chromium, "BASE="+at, "KEY="+c.PublicKey, "RECIPE="+eventSourceRecipe(t))

	shown := make(map[string]uint64)
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
				case !more || line.Problem != "" || line.Gap != nil:
					t.Fatalf("%s: %+v, shown %v", what, line, shown)
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

// startEventSource opens the page and returns what it says.
func startEventSource(ctx context.Context, t *testing.T, env ...string) <-chan pageSays {
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
	return says
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

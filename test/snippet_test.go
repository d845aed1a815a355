package test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// consoleSnippet returns the lines for the official SDK that the console shows, for an
// endpoint and key.
func consoleSnippet(t *testing.T, endpoint, key string) string {
	t.Helper()
	page, err := os.ReadFile("../console/assets/pages/connect.js")
	if err != nil {
		t.Fatal(err)
	}
	part := func(from, to string) string {
		_, rest, found := strings.Cut(string(page), from)
		text, _, ended := strings.Cut(rest, to)
		if !found || !ended {
			t.Fatalf("connect.js has nothing between %q and %q", from, to)
		}
		return text
	}
	text := part("sdk: official, key: 'public',\n    text: (key, urls) => `", "`,")
	text = strings.ReplaceAll(text, "${heal}", part("const heal = `", "`;"))
	text = strings.ReplaceAll(text, "${urls[0]}", endpoint)
	return strings.ReplaceAll(text, "${key}", key)
}

// The lines that the README and the console show survive the loss of their node: with
// the unmodified SDK, for every channel that the page follows.
func TestSnippetsSurviveALostNode(t *testing.T) {
	needNode(t)
	// A second channel, and reconnects that do not take their time.
	const more = "\nclient.connection.backoff.initialDelay = client.connection.backoff.currentDelay = 100;\n" +
		"client.realtime.channel('more').stream((data, meta) => console.log('more', meta.offset));\n"
	for name, snippet := range map[string]func(endpoint, key string) string{
		"README": func(_, _ string) string { return readmeBlock(t, "js", "@aptly-sdk/brook") },
		"console": func(endpoint, key string) string {
			return "import WebSocket from 'ws';\nglobalThis.WebSocket ??= WebSocket;\n" + consoleSnippet(t, endpoint, key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 3)
			var addrs []string
			for i := range c.Len() {
				addrs = append(addrs, c.Addr(i))
			}
			balancer := startBalancer(t, addrs)
			endpoint := "ws://" + balancer.addr()
			script := filepath.Join("sdk", "snippet-"+name+".mjs")
			if err := os.WriteFile(script, []byte(snippet(endpoint, c.PublicKey)+more), 0o600); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(script)
			cmd := exec.Command("node", filepath.Base(script))
			cmd.Dir = "sdk"
			cmd.Env = append(os.Environ(), "PK="+c.PublicKey, "APTLYD="+endpoint)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := make(chan string, 100)
			go func() {
				defer close(lines)
				for s := bufio.NewScanner(out); s.Scan(); {
					lines <- s.Text()
				}
			}()
			defer func() {
				_ = cmd.Process.Kill()
				for range lines { // until it has ended
				}
				_ = cmd.Wait()
			}()
			// expect publishes through a node and waits for what both streams print.
			expect := func(node int, offset string) {
				t.Helper()
				for _, channel := range []string{"news", "more"} {
					if _, err := rest(c, node).Publish(within(t, deadline),
						client.Publication{Channel: channel, Data: json.RawMessage(`"x"`)}); err != nil {
						t.Fatal(err)
					}
				}
				missing := map[string]bool{offset: true, "more " + offset: true}
				for end := time.After(deadline); len(missing) > 0; {
					select {
					case line, open := <-lines:
						if !open {
							t.Fatal("the page has ended")
						}
						fields := strings.Fields(line)
						if fields[0] == "more" {
							delete(missing, fields[0]+" "+fields[1])
						} else {
							delete(missing, fields[0])
						}
					case <-end:
						t.Fatalf("not printed: %v", missing)
					}
				}
			}
			expect(2, "1")
			if err := c.Kill(0); err != nil {
				t.Fatal(err)
			}
			expect(2, "2")
		})
	}
}

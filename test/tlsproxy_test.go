package test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// proxyBlock returns a block of docs/proxies.md with this language.
func proxyBlock(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(string(text))
	if found == nil {
		t.Fatalf("docs/proxies.md has no %s block", language)
	}
	return found[1]
}

// replaced replaces each old text, which must be there once, by its new one.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			t.Fatalf("%q is there %d times in\n%s", pairs[i], strings.Count(text, pairs[i]), text)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// tlsProxy starts a proxy that ends TLS before a cluster, with changes of its configuration:
// each old text, which must be there once, and its new one. It returns the address.
type tlsProxy func(t *testing.T, changes ...string) string

// tlsProxies returns the proxies as docs/proxies.md sets them up.
func tlsProxies(t *testing.T, c site) map[string]tlsProxy {
	t.Helper()
	certFile, keyFile := lab.SelfSigned(t, t.TempDir())
	both := filepath.Join(filepath.Dir(certFile), "both.pem")
	if err := os.WriteFile(both, []byte(readFile(t, certFile)+readFile(t, keyFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes := []string{"10.0.0.1:8080", c.Addr(0), "10.0.0.2:8080", c.Addr(1), "10.0.0.3:8080", c.Addr(2)}
	return map[string]tlsProxy{
		"caddy": func(t *testing.T, changes ...string) string {
			return lab.StartCaddy(t, func(port string) string {
				config := replaced(t, proxyBlock(t, "caddy"), append([]string{
					"rt.example.com {", "https://127.0.0.1:" + port + " {\n\ttls " + certFile + " " + keyFile,
				}, nodes...)...)
				return "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + replaced(t, config, changes...)
			})
		},
		"nginx": func(t *testing.T, changes ...string) string {
			return lab.StartNginx(t, func(port string) string {
				lines := replaced(t, proxyBlock(t, "nginx"), "listen 443 ", "listen 127.0.0.1:"+port+" ",
					"/etc/ssl/rt.example.com.pem", certFile, "/etc/ssl/rt.example.com.key", keyFile)
				config := readFile(t, "../packaging/nginx.conf")
				config = replaced(t, config, append([]string{"    listen 80;\n", lines}, nodes...)...)
				return replaced(t, config, changes...)
			})
		},
		"haproxy": func(t *testing.T, changes ...string) string {
			return lab.StartHAProxy(t, func(port string) string {
				lines := replaced(t, proxyBlock(t, "haproxy"), "/etc/haproxy/rt.example.com.pem", both,
					"bind :443", "bind 127.0.0.1:"+port)
				config := readFile(t, "../packaging/haproxy.cfg")
				config = replaced(t, config, append([]string{"    bind :80\n", lines}, nodes...)...)
				return replaced(t, config, changes...)
			})
		},
	}
}

// TestTLSAtTheProxy runs what docs/proxies.md says of TLS with the real proxies.
func TestTLSAtTheProxy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--trusted-proxies", "127.0.0.1/32")
	for name, start := range tlsProxies(t, c) {
		t.Run(name, func(t *testing.T) {
			at := start(t)
			trusting := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is the test's own
			cl, err := client.New(client.Options{Endpoints: []string{"wss://" + at}, APIKey: c.ServerKey, TLSConfig: trusting})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			eventually(t, deadline, func() error { return cl.Connect(within(t, 5*time.Second)) })
			if _, err := cl.Publish(within(t, deadline), client.Publication{Channel: "tls", Data: name}); err != nil {
				t.Fatal(err)
			}
			// The session's cookie is for TLS only, so the node knows what the browser speaks.
			web := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting}}
			request, err := http.NewRequestWithContext(within(t, deadline), http.MethodPost, "https://"+at+"/console/session",
				strings.NewReader(fmt.Sprintf(`{"token":%q}`, c.AdminToken)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Origin", "https://"+at)
			request.Header.Set("X-Aptlyd-Console", "1")
			answer, err := web.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if err := answer.Body.Close(); err != nil {
				t.Fatal(err)
			}
			cookies := answer.Cookies()
			if answer.StatusCode != http.StatusNoContent || len(cookies) != 1 || !cookies[0].Secure {
				t.Errorf("sign-in answers %s with the cookies %v", answer.Status, cookies)
			}
		})
	}
}

// Events pass through the real proxies, to a client that speaks HTTP/2. A stream goes on for
// longer than the time-outs while comments come more often. Where they do not, it is cut, and a
// client that comes back with its cursor misses nothing.
func TestEventsThroughProxies(t *testing.T) {
	t.Parallel()
	lab.NeedTool(t, "curl")
	recipes := sseRecipes(t, "curl", "sh", 2)
	c := startCluster(t, 3, "--heartbeat", "2s", "--trusted-proxies", "127.0.0.1/32")
	curlrc := t.TempDir()
	settings := []byte("insecure\nhttp2\nno-progress-meter\n")
	if err := os.WriteFile(filepath.Join(curlrc, ".curlrc"), settings, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(at, script, cursor string) *recipe {
		env := []string{"CURL_HOME=" + curlrc, "BROKER=https://" + at, "KEY=" + c.ServerKey, "CURSOR=" + cursor}
		return startRecipe(t, env, "sh", "-c", script)
	}
	published := 0
	publish := func() {
		published++
		mustPublish(t, c, 0, "news", published)
	}
	proxies := tlsProxies(t, c)
	// What makes a time too long for a proxy to hear nothing; Caddy waits for ever.
	silence := map[string]func(most string) []string{
		"nginx": func(most string) []string {
			return []string{"proxy_read_timeout 75s", "proxy_read_timeout " + most}
		},
		"haproxy": func(most string) []string {
			return []string{"timeout tunnel 1h", "timeout tunnel " + most}
		},
		"caddy": func(string) []string { return nil },
	}
	publish()
	streams := make(map[string]*recipe)
	for name, start := range proxies {
		at := start(t, silence[name]("5s")...)
		version, _ := run(at, `curl -s -o /dev/null -w '%{http_version}\n' "$BROKER/healthz"`, "").next()
		if version != "2" {
			t.Errorf("%s speaks HTTP/%s", name, version)
		}
		streams[name] = run(at, recipes[0], "")
		streams[name].await("data: ", 1, 1)
	}
	time.Sleep(7 * time.Second) // longer than the time-outs: nothing must happen, which no condition tells
	publish()
	for _, stream := range streams {
		stream.await("data: ", 2, 2)
	}
	for name, start := range proxies {
		if silence[name]("") == nil {
			continue
		}
		at := start(t, silence[name]("1s")...)
		cut, cursor := run(at, recipes[0], ""), ""
		for line, more := cut.next(); more; line, more = cut.next() {
			if id, found := strings.CutPrefix(line, "id: "); found {
				cursor = id
			}
		}
		publish()
		run(at, recipes[1], cursor).await("data: ", published, published)
	}
}

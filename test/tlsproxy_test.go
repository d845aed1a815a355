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

// TestTLSAtTheProxy runs what docs/proxies.md says of TLS with the real proxies.
func TestTLSAtTheProxy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--trusted-proxies", "127.0.0.1/32")
	dir := t.TempDir()
	certFile, keyFile := lab.SelfSigned(t, dir)
	both := filepath.Join(dir, "both.pem")
	if err := os.WriteFile(both, []byte(readFile(t, certFile)+readFile(t, keyFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func(t *testing.T) string{
		"caddy": func(t *testing.T) string {
			return lab.StartCaddy(t, func(port string) string {
				return "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + replaced(t, proxyBlock(t, "caddy"),
					"rt.example.com {", "https://127.0.0.1:"+port+" {\n\ttls "+certFile+" "+keyFile,
					"10.0.0.1:8080", c.Addr(0), "10.0.0.2:8080", c.Addr(1), "10.0.0.3:8080", c.Addr(2))
			})
		},
		"nginx": func(t *testing.T) string {
			lines := replaced(t, proxyBlock(t, "nginx"), "listen 443 ssl", "listen 127.0.0.1:443 ssl",
				"/etc/ssl/rt.example.com.pem", certFile, "/etc/ssl/rt.example.com.key", keyFile)
			return lab.StartNginx(t, func(port string) string {
				lines := replaced(t, lines, "127.0.0.1:443", "127.0.0.1:"+port)
				config := replaced(t, readFile(t, "../packaging/nginx.conf"), "    listen 80;\n", lines,
					"10.0.0.1:8080", c.Addr(0), "10.0.0.2:8080", c.Addr(1), "10.0.0.3:8080", c.Addr(2))
				return config
			})
		},
		"haproxy": func(t *testing.T) string {
			lines := replaced(t, proxyBlock(t, "haproxy"), "/etc/haproxy/rt.example.com.pem", both)
			return lab.StartHAProxy(t, func(port string) string {
				lines := replaced(t, lines, "bind :443", "bind 127.0.0.1:"+port)
				return replaced(t, readFile(t, "../packaging/haproxy.cfg"), "    bind :80\n", lines,
					"10.0.0.1:8080", c.Addr(0), "10.0.0.2:8080", c.Addr(1), "10.0.0.3:8080", c.Addr(2))
			})
		},
	} {
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

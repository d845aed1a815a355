package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func trustLoopback(c *Config) { c.TrustedProxies = append(c.TrustedProxies, prefix("127.0.0.0/8")) }

// A proxy that passes nginx's $host on drops the port of the console's own address.
func TestConsoleBehindAProxyThatChangesTheHost(t *testing.T) {
	body := `{"token":"` + adminToken + `"}`
	type headers = []string
	for name, c := range map[string]struct {
		adjust []func(*Config)
		header headers
		want   int
	}{
		"the browser says it": {
			nil,
			headers{"Origin", "https://rt.example:8443", "Sec-Fetch-Site", "same-origin"},
			204,
		},
		"the browser says another": {
			nil,
			headers{"Origin", "https://rt.example:8443", "Sec-Fetch-Site", "same-site"},
			403,
		},
		"plain HTTP": {nil, headers{"Origin", "http://rt.example:8443", "Sec-Fetch-Site", ""}, 403},
		"a trusted proxy says it": {
			[]func(*Config){trustLoopback},
			headers{"Origin", "http://rt.example:8443", "Sec-Fetch-Site", "", "X-Forwarded-Host", "rt.example:8443"},
			204,
		},
		"the first of two says it": {
			[]func(*Config){trustLoopback},
			headers{
				"Origin", "http://rt.example:8443", "Sec-Fetch-Site", "", "X-Forwarded-Host",
				"rt.example:8443, inner:80",
			},
			204,
		},
		"a trusted proxy says another": {
			[]func(*Config){trustLoopback},
			headers{"Origin", "http://rt.example:8443", "Sec-Fetch-Site", "", "X-Forwarded-Host", "rt.example"},
			403,
		},
		"somebody says it": {
			nil,
			headers{"Origin", "http://rt.example:8443", "Sec-Fetch-Site", "", "X-Forwarded-Host", "rt.example:8443"},
			403,
		},
		"an origin of another, trusted": {
			[]func(*Config){trustLoopback},
			headers{"Origin", "http://evil.example", "Sec-Fetch-Site", "", "X-Forwarded-Host", "rt.example:8443"},
			403,
		},
	} {
		h := newHarness(t, "portable", c.adjust...)
		b := &browser{h: h}
		res, answer := b.call("POST", "/console/session", body, c.header...)
		if res.StatusCode != c.want {
			t.Errorf("%s: %s %v, want %d", name, res.Status, answer, c.want)
		}
		if reason, _ := answer["error"].(string); c.want == 403 && !strings.Contains(reason, c.header[1]) ||
			name == "plain HTTP" && !strings.Contains(reason, h.addr) {
			t.Errorf("%s: the refusal says %q", name, reason)
		}
	}
}

// A page that has given its own name the node's address (DNS rebinding) gets no answer
// and is no native client.
func TestHostsThatAreNotTheNodes(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, trustLoopback, func(c *Config) { c.AllowedHosts = []string{"rt.example"} })
		h.change(func(p *fsm.Project) { p.AllowNativeClients = true })
		ask := func(path, host, more string) int {
			t.Helper()
			client := h.connect()
			client.send("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nX-API-Key: " + h.public + "\r\n" + more + "\r\n")
			res, err := http.ReadResponse(client.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode == http.StatusMisdirectedRequest {
				if got := typedRefusal(t, res); got.Code != refusal.Forbidden || !strings.Contains(got.Error, "--allowed-hosts") {
					t.Errorf("%s of %s: %+v", path, host, got)
				}
			}
			return res.StatusCode
		}
		for _, path := range []string{
			"/", "/admin/v1/projects", "/realtime/history?channel=c", "/metrics", "/realtime",
			"/console/session",
		} {
			if got := ask(path, "evil.example:8080", ""); got != http.StatusMisdirectedRequest {
				t.Errorf("%s: %d", path, got)
			}
			for _, host := range []string{"rt.example", "rt.example:8443", "localhost:8080", "127.0.0.1:1", "[::1]"} {
				if got := ask(path, host, ""); got == http.StatusMisdirectedRequest {
					t.Errorf("%s of %s: %d", path, host, got)
				}
			}
		}
		for _, path := range []string{"/healthz", "/readyz"} { // balancers ask for whatever they like
			if got := ask(path, "evil.example", ""); got != 200 {
				t.Errorf("%s: %d", path, got)
			}
		}
		if got := ask("/", "evil.example", "X-Forwarded-Host: rt.example\r\n"); got == http.StatusMisdirectedRequest {
			t.Errorf("what a trusted proxy says: %d", got)
		}
		if got := ask("/", "rt.example", "X-Forwarded-Host: evil.example\r\n"); got != http.StatusMisdirectedRequest {
			t.Errorf("what a trusted proxy says of a page: %d", got)
		}
		upgrade := "Upgrade: websocket\r\nConnection: Upgrade\r\n"
		if got := ask("/admin/v1/projects", "evil.example", upgrade); got != http.StatusMisdirectedRequest {
			t.Errorf("with an upgrade: %d", got)
		}
		if got := h.lastRefusal(refusal.Query{Code: refusal.Forbidden}); got.Via != "rest" ||
			!strings.Contains(got.Reason, "evil.example") {
			t.Errorf("%+v", got)
		}
		for host, want := range map[string]string{"rt.example": "auth_success", "evil.example": "error"} {
			client := h.connect()
			head := strings.Replace(upgradeHead, "broker.example.com", host, 1)
			client.send(head + "Origin: http://" + host + "\r\n\r\n")
			client.wantResponse(101)
			client.text(`{"type":"auth","apiKey":%q}`, h.public)
			f := client.next()
			if f.Type != want || want == "error" && f.Code != refusal.OriginNotAllowed {
				t.Errorf("a WebSocket to %s: %s", host, f)
			}
		}
	})
}

func TestForwardedProtoOfSeveralProxies(t *testing.T) {
	for proto, want := range map[string]bool{
		"https": true, "HTTPS": true, "https, http": true, " Https ,http": true, "http, https": false, "http": false,
		"": false,
	} {
		h := newHarness(t, "portable", trustLoopback)
		b := &browser{h: h}
		res, _ := b.call("POST", "/console/session", `{"token":"`+adminToken+`"}`, "X-Forwarded-Proto", proto)
		if res.StatusCode != 204 || res.Cookies()[0].Secure != want {
			t.Errorf("%q: %s, %v", proto, res.Status, res.Cookies())
		}
	}
}

// A native app that sends the broker's address as its origin is one also behind a
// proxy that changes the Host, where the proxy says what it was.
func TestOwnAddressBehindAProxy(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		for name, c := range map[string]struct {
			trust   bool
			header  string
			allowed bool
		}{
			"as it is":     {false, "Origin: http://broker.example.com\r\n", true},
			"port dropped": {false, "Origin: http://broker.example.com:8443\r\n", false},
			"said by nobody": {false, "Origin: http://broker.example.com:8443\r\n" +
				"X-Forwarded-Host: broker.example.com:8443\r\n", false},
			"said": {true, "Origin: http://broker.example.com:8443\r\nX-Forwarded-Host: broker.example.com:8443\r\n" +
				"", true},
			"said by two": {true, "Origin: http://broker.example.com:8443\r\n" +
				"X-Forwarded-Host: broker.example.com:8443, a\r\n", true},
			"said oddly": {true, "Origin: http://broker.example.com:8443\r\nX-Forwarded-Host: <>\r\n", false},
		} {
			h := newHarness(t, poller, func(cfg *Config) {
				if c.trust {
					trustLoopback(cfg)
				}
			})
			h.broker.set(func() {
				h.broker.projects[testProject] = &fsm.Project{ID: testProject, Name: "test", AllowNativeClients: true}
			})
			client := h.dial(c.header)
			client.text(`{"type":"auth","apiKey":%q}`, h.public)
			if c.allowed {
				client.want("auth_success")
				continue
			}
			client.wantError(refusal.OriginNotAllowed)
			found, err := h.server.Refusals(refusal.Query{Limit: 1})
			if err != nil || len(found) != 1 || !strings.Contains(found[0].Detail, "http://broker.example.com:8443") ||
				!strings.Contains(found[0].Detail, "is broker.example.com by") {
				t.Errorf("%s: %+v, %v", name, found, err)
			}
		}
	})
}

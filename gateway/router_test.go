package gateway

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/admin"
)

// hostileNames are texts that mean something else in a path: as they are, escaped,
// and escaped again for a proxy that decodes.
var hostileNames = []string{
	".", "..", "../..", "a/../../../keys/key", "%2e%2e", "%2E", "..%2F..%2Fkeys%2Fkey", "%252e%252e%252f", "a%2Fb",
	"a//b", "",
	"..;", "a;b", "%00", "\xff", "ä", "a\\..\\b",
}

// raw sends a request whose target is as given and returns the head of the answer.
func (h *harness) raw(method, target string, header ...string) *http.Response {
	h.t.Helper()
	c := h.connect()
	c.send(method + " " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + strings.Join(header, "") + "\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c.in), &http.Request{Method: method})
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, target, err)
	}
	_ = res.Body.Close()
	return res
}

// Whatever stands in a path in the place of an id, nothing but the resource with that
// id answers, and nobody is sent elsewhere.
func TestNoNameInAPathBecomesAnotherResource(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("..", 3)
		token := "Authorization: Bearer " + adminToken + "\r\n"
		keys := len(h.broker.Keys(testProject))
		for _, route := range h.server.admin.Routes() {
			if !strings.Contains(route.Path, admin.IDParameter) {
				continue
			}
			for _, name := range hostileNames {
				target := admin.Prefix + strings.ReplaceAll(route.Path, admin.IDParameter, name)
				res := h.raw(route.Method, target, token, "Content-Length: 0\r\n")
				if res.StatusCode != 404 && res.StatusCode != 400 {
					t.Errorf("%s %q: %s, Location %q", route.Method, target, res.Status, res.Header.Get("Location"))
				}
			}
		}
		for _, target := range []string{
			"/projects/" + testProject + "/", "/projects/" + testProject + "/channels/..", "/projects/" + testProject +
				"/channels/.",
			"/projects/x/../" + testProject, "//projects/" + testProject, "/projects//" + testProject, "/./projects/" +
				testProject,
			"/%70rojects/" + testProject, "/projects/" + testProject + "/messages/../",
		} {
			if res := h.raw("DELETE", admin.Prefix+target, token); res.StatusCode != 404 {
				t.Errorf("DELETE %s: %s, Location %q", target, res.Status, res.Header.Get("Location"))
			}
		}
		if _, found := h.broker.Project(testProject); !found || len(h.broker.Keys(testProject)) != keys {
			t.Error("the project or a key of it is gone")
		}
		if res := h.raw("DELETE", admin.Prefix+"/projects/"+testProject+"/messages?channel=..",
			token); res.StatusCode != 200 {
			t.Errorf("purge of the channel ..: %s", res.Status)
		}
		if info, _ := h.broker.Channel(t.Context(), h.channel("..")); info.Earliest != 4 {
			t.Errorf("the channel .. has messages from %d on", info.Earliest)
		}
	})
}

// A client that joins paths carelessly is served where it meant to go; no other path
// has a second spelling, lest a rule of a proxy be walked around.
func TestPathsAreTakenAsTheyAre(t *testing.T) {
	h := newHarness(t, "epoll", func(c *Config) { c.Console = http.NotFoundHandler() })
	key := "X-Api-Key: " + h.secret + "\r\n"
	for target, want := range map[string]int{
		"/realtime/history?channel=c": 200, "//realtime/history?channel=c": 200, "/realtime/history/?channel=c": 200,
		"/realtime/": 405, "//realtime": 405, "/realtime/batch/": 405,
		"/realtime/./history?channel=c": 404, "/realtime/../metrics": 404, "/Realtime": 404, "/real%74ime": 404,
		"//metrics": 404, "/metrics/": 404, "//admin/v1/whoami": 404, "/admin/v1": 404, "//console/": 404,
		"/": 302, "//": 302, "/console": 302, "/nowhere/": 404,
	} {
		res := h.raw("GET", target, key)
		if res.StatusCode != want {
			t.Errorf("GET %s: %s, want %d", target, res.Status, want)
		}
		if location := res.Header.Get("Location"); want == 302 && location != "console/" || want != 302 && location != "" {
			t.Errorf("GET %s leads to %q", target, location)
		}
	}
	for _, path := range []string{"/realtime/", "//realtime", "//"} {
		c := h.connect()
		c.send(strings.Replace(upgradeHead, "/realtime", path, 1) + "\r\n")
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
			t.Errorf("upgrade at %s: %v, %v", path, res, err)
		}
	}
}

func TestHeadIsAnsweredWhereGetIs(t *testing.T) {
	h := newHarness(t, "portable")
	token := "Authorization: Bearer " + adminToken + "\r\n"
	for _, route := range h.server.admin.Routes() {
		path := strings.ReplaceAll(route.Path, admin.IDParameter, testProject)
		if route.Path == "/keys/{id}/connections" {
			path = "/keys/" + h.broker.Keys(testProject)[0].ID + "/connections"
		}
		if route.Path == "/projects/{id}/messages" {
			path += "?channel=c"
		}
		if route.Method != "GET" {
			continue
		}
		get, head := h.raw("GET", admin.Prefix+path, token), h.raw("HEAD", admin.Prefix+path, token)
		if get.StatusCode != head.StatusCode || get.Header.Get("Content-Type") != head.Header.Get("Content-Type") {
			t.Errorf("%s: GET %s, HEAD %s", path, get.Status, head.Status)
		}
	}
	for target, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/metrics": 200,
		"/realtime/history?channel=c": 200,
	} {
		if res := h.raw("HEAD", target, "X-Api-Key: "+h.secret+"\r\n"); res.StatusCode != want {
			t.Errorf("HEAD %s: %s", target, res.Status)
		}
	}
	if res := h.raw("DELETE", admin.Prefix+"/whoami", token); res.StatusCode != 405 ||
		res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("%s, Allow %q", res.Status, res.Header.Get("Allow"))
	}
}

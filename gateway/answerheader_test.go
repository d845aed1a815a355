package gateway

import (
	"io"
	"net/http"
	"testing"
)

// An answer with data stands in no cache, and no browser takes it for a page.
func TestAnswersAreNeitherCachedNorSniffed(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("c", 1)
		for path, status := range map[string]int{
			"/realtime/history?channel=c": 200, "/realtime/history?channel=": 400, "/admin/v1/projects": 401, "/nothing": 404,
			"/readyz": 200, "/metrics": 200,
		} {
			res, _ := h.do(http.MethodGet, path, "", "X-API-Key", h.public, "Origin", testOrigin)
			if res.StatusCode != status {
				t.Errorf("%s: %d", path, res.StatusCode)
			}
			wantHeaders(t, path, res)
		}
		malformed := h.connect()
		malformed.send("GET / HTTP/1.1\r\nHost : x\r\n\r\n")
		res, err := http.ReadResponse(malformed.in, nil)
		if err != nil || res.StatusCode != 400 {
			t.Fatal(res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if poller == "epoll" { // net/http's own answer is plain text and has neither
			wantHeaders(t, "malformed", res)
		}
	})
}

func wantHeaders(t *testing.T, what string, res *http.Response) {
	t.Helper()
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := res.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %s is %q", what, name, got)
		}
	}
}

package test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// startSubPath puts nginx before a node, which is below /rt/ there.
func startSubPath(t *testing.T, node string) string {
	t.Helper()
	return "http://" + lab.StartNginx(t, func(port string) string { return lab.SubPath(port, node) }) + "/rt"
}

// behind is a cluster as it is seen through a proxy.
type behind struct {
	site
	server string
}

func (b behind) run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	return aptlyd(t, b, 0, append(args, "--server", b.server)...)
}

// Whatever a channel is called, its purge is its purge: with no proxy, and behind one
// that decodes and cleans the paths of what it passes on.
func TestPurgeIsNothingElse(t *testing.T) {
	c := startCluster(t, 1)
	proxy := startSubPath(t, c.Addr(0))
	project := defaultProject(t, c)
	names := []string{
		"..", ".", "a/b", "%2e%2e", "..%2f..", "a?b#c", "a&channel=b",
		"chat:17:x/../../../../keys/" + project.Keys[0].ID,
	}
	for i, server := range []string{url(c, 0), proxy, proxy + "/"} {
		b := behind{c, server}
		for _, name := range names {
			mustPublish(t, c, 0, name, i)
			out, code := b.run(t, "channel", "purge", "default", name)
			want := fmt.Sprintf("purged channel %s of project default; messages removed: 1, up to offset %d\n", name, i+1)
			if code != 0 || out != want {
				t.Errorf("purge of %q at %s: exit code %d, %q, want %q", name, server, code, out, want)
			}
		}
		for _, id := range []string{"..", "../projects/" + project.ID, "%2e%2e"} {
			for _, args := range [][]string{
				{"key", "revoke", id}, {"key", "rotate", id}, {"admin", "revoke", id}, {"connection", "close", id},
			} {
				if out, code := b.run(t, args...); code != 1 || !strings.Contains(out, "is not an id") {
					t.Errorf("%v at %s: exit code %d, %q", args, server, code, out)
				}
			}
			if out, code := b.run(t, "cluster", "remove", id); code != 1 || !strings.Contains(out, "no member") {
				t.Errorf("remove %q at %s: exit code %d, %q", id, server, code, out)
			}
		}
	}
	// What somebody sends with other tools is at most refused.
	for _, path := range []string{
		"/projects/" + project.ID + "/channels/..", "/projects/" + project.ID + "/channels/x%2F..%2F..%2F..%2F..%2Fkeys%2F" +
			project.Keys[0].ID,
		"/keys/..%2Fprojects%2F" + project.ID + "%2F", "//projects/" + project.ID,
	} {
		request := newRequest(t, http.MethodDelete, url(c, 0)+"/admin/v1"+path)
		request.Header.Set("Authorization", "Bearer "+c.keys().admin)
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 404 || response.Header.Get("Location") != "" {
			t.Errorf("DELETE %s: %s, %q", path, response.Status, response.Header.Get("Location"))
		}
	}
	if now := defaultProject(t, c); now.ID != project.ID || len(now.Keys) != len(project.Keys) {
		t.Errorf("the project was %+v and is %+v", project, now)
	}
}

// teapot is the status of the other programs of the host, which may also be part of a port.
var teapot = regexp.MustCompile(`\b418\b`)

// Everything works below a path, and nothing is sent to the other programs of a host.
func TestBelowAPathOfAProxy(t *testing.T) {
	c := startCluster(t, 1)
	b := behind{c, startSubPath(t, c.Addr(0))}
	for _, args := range [][]string{
		{"cluster", "status"},
		{"project", "list"},
		{"healthcheck"},
		{"doctor"},
		{"publish", "news", "1", "--key", c.ServerKey},
		{"backup", filepath.Join(t.TempDir(), "backup")},
	} {
		if out, code := b.run(t, args...); code != 0 && args[0] != "doctor" || teapot.MatchString(out) {
			t.Errorf("%v: exit code %d: %s", args, code, out)
		}
	}
	rest := &client.REST{BaseURL: b.server, APIKey: c.ServerKey}
	if _, err := rest.Publish(t.Context(), client.Publication{Channel: "news", Data: 2}); err != nil {
		t.Error(err)
	}
	if h, err := rest.History(t.Context(), "news", 0, 0); err != nil || len(h.Messages) != 2 {
		t.Errorf("%+v, %v", h, err)
	}
	for path, want := range map[string]string{"/": "console/", "/console": "console/"} {
		response, err := http.DefaultTransport.RoundTrip(newRequest(t, http.MethodGet, b.server+path))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Location"); got != want {
			t.Errorf("%s leads to %q", path, got)
		}
	}
	if response, err := http.Get(b.server + "/"); err != nil || response.StatusCode != 200 ||
		!strings.HasSuffix(response.Request.URL.Path, "/rt/console/") {
		t.Errorf("the way to the console ends at %v, %v", response, err)
	} else {
		response.Body.Close()
	}
}

func newRequest(t *testing.T, method, url string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

package console

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

// firstLoad bounds what a browser fetches in all for its first page, in bytes.
const firstLoad = 300 << 10

var (
	links   = regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	imports = regexp.MustCompile(`(?m)^import .*'(\.[^']+)';$`)
	lazy    = regexp.MustCompile(`'(lib/[^']+)'`)
)

func TestPagesLoadOnlyWhatTheyShip(t *testing.T) {
	server := httptest.NewServer(Handler())
	defer server.Close()
	fetched := map[string]string{"": get(t, server, "")}
	for _, link := range links.FindAllStringSubmatch(fetched[""], -1) {
		load(t, server, link[1], fetched)
	}
	if len(fetched) < 20 {
		t.Fatalf("the page loads only %d files", len(fetched))
	}
	total := 0
	for _, content := range fetched {
		total += len(content)
	}
	if t.Logf("%d files, %d bytes", len(fetched), total); total > firstLoad {
		t.Errorf("the first load is %d bytes, more than %d", total, firstLoad)
	}
	page := fetched[""]
	if regexp.MustCompile(`(?s)<script[^>]*>\s*[^<\s]`).MatchString(page) || strings.Contains(page, "style=") {
		t.Error("inline script or style would be blocked by the policy")
	}
	err := fs.WalkDir(assets, "assets", func(name string, entry fs.DirEntry, err error) error {
		name = strings.TrimPrefix(name, "assets/")
		if _, used := fetched[name]; !used && !entry.IsDir() && name != "index.html" && path.Ext(name) != ".LICENSE" {
			t.Errorf("%s is shipped but never loaded", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// load fetches a file and what it imports.
func load(t *testing.T, server *httptest.Server, name string, fetched map[string]string) {
	t.Helper()
	if _, done := fetched[name]; done {
		return
	}
	if strings.Contains(name, "//") {
		t.Errorf("%s is not ours to load", name)
		return
	}
	content := get(t, server, name)
	fetched[name] = content
	for _, found := range imports.FindAllStringSubmatch(content, -1) {
		load(t, server, path.Join(path.Dir(name), found[1]), fetched)
	}
	for _, found := range lazy.FindAllStringSubmatch(content, -1) {
		load(t, server, found[1], fetched)
	}
}

func TestPagesNeverParseMarkup(t *testing.T) {
	sinks := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|` +
		`DOMParser|createContextualFragment|\beval\(|new Function|setHTML`)
	err := fs.WalkDir(assets, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".js" || strings.Contains(name, "/lib/") {
			return err
		}
		content, err := fs.ReadFile(assets, name)
		if found := sinks.Find(content); found != nil {
			t.Errorf("%s uses %s: text that users chose could become markup", name, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Behind a proxy the node may be below a path: what the pages fetch is beside them. A
// redirect would take the call, and the session with it, elsewhere.
func TestPagesCallNothingByAnAbsolutePath(t *testing.T) {
	absolute := regexp.MustCompile("[`'\"]/(?:admin|console|realtime)\\b")
	fetches := 0
	err := fs.WalkDir(assets, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.Contains(name, "/lib/") {
			return err
		}
		content, err := fs.ReadFile(assets, name)
		if found := absolute.Find(content); found != nil {
			t.Errorf("%s has the absolute path %s", name, found)
		}
		for line := range strings.SplitSeq(string(content), "\n") {
			if strings.Contains(line, "fetch(") {
				fetches++
				if !strings.Contains(line, "redirect: 'manual'") {
					t.Errorf("%s may follow a redirect: %s", name, strings.TrimSpace(line))
				}
			}
		}
		return err
	})
	if err != nil || fetches == 0 {
		t.Fatalf("%d calls, %v", fetches, err)
	}
}

func TestOnlyWhatIsShippedIsServed(t *testing.T) {
	server := httptest.NewServer(Handler())
	defer server.Close()
	for _, name := range []string{"pages/", "pages", "lib/", "nothing.js", "x/../main.js", "..%2fmain.js"} {
		resp := request(t, server, name, "")
		if resp.StatusCode != http.StatusNotFound || resp.Request.URL.Path != "/"+strings.ReplaceAll(name, "%2f", "/") {
			t.Errorf("%s: %s from %s", name, resp.Status, resp.Request.URL)
		}
	}
}

func TestFilesAreFetchedAgainOnlyWhenTheyChange(t *testing.T) {
	server := httptest.NewServer(Handler())
	defer server.Close()
	for _, name := range []string{"", "main.js"} {
		resp := request(t, server, name, "")
		tag := resp.Header.Get("ETag")
		if tag == "" {
			t.Fatalf("%q has no tag", name)
		}
		if resp = request(t, server, name, tag); resp.StatusCode != http.StatusNotModified {
			t.Errorf("%q with its own tag: %s", name, resp.Status)
		}
		if resp = request(t, server, name, `"other"`); resp.StatusCode != http.StatusOK {
			t.Errorf("%q with another tag: %s", name, resp.Status)
		}
	}
}

func request(t *testing.T, server *httptest.Server, name, tag string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// get fetches a file, which must be there with the policy set.
func get(t *testing.T, server *httptest.Server, name string) string {
	t.Helper()
	resp := request(t, server, name, "")
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s", name, resp.Status)
	}
	if resp.Header.Get("Content-Security-Policy") != policy {
		t.Errorf("GET %s: policy %q", name, resp.Header.Get("Content-Security-Policy"))
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

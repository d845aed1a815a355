package console

import (
	"io"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPagesLoadOnlyWhatTheyShip(t *testing.T) {
	server := httptest.NewServer(Handler())
	defer server.Close()
	page := get(t, server, "/")
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 2 {
		t.Fatalf("the page names no script or style: %q", page)
	}
	for _, link := range links {
		if strings.Contains(link[1], "//") {
			t.Errorf("%s is not ours to load", link[1])
		}
		get(t, server, "/"+link[1])
	}
	if regexp.MustCompile(`(?s)<script[^>]*>\s*[^<\s]`).MatchString(page) || strings.Contains(page, "style=") {
		t.Error("inline script or style would be blocked by the policy")
	}
}

// get fetches a path, which must be there with the policy set.
func get(t *testing.T, server *httptest.Server, path string) string {
	t.Helper()
	resp, err := server.Client().Get(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("GET %s: %s", path, resp.Status)
	}
	if resp.Header.Get("Content-Security-Policy") != policy {
		t.Errorf("GET %s: policy %q", path, resp.Header.Get("Content-Security-Policy"))
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

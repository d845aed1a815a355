package console

import (
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goClient has the shapes of the published Go client that the console's snippet
// uses. Tests must not need a network, so its source stands in for the module's.
const goClient = `package aptly

type Config struct{ APIKey, Endpoint string }

type Client struct{}

func NewClient(Config) (*Client, error) { return nil, nil }

func (*Client) PublishHTTP(channel string, message interface{}) (map[string]interface{}, error) {
	return nil, nil
}
`

// The Go program that the console shows compiles as it stands.
func TestGoSnippetCompiles(t *testing.T) {
	page, err := os.ReadFile("assets/pages/connect.js")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "Go: () => `")
	program, _, ended := strings.Cut(rest, "`,")
	if !found || !ended {
		t.Fatal("connect.js has no snippet for Go")
	}
	program = strings.ReplaceAll(program, "${endpoint()}", "ws://localhost:8080") + "\n"
	if strings.ContainsAny(program, "$\\") {
		t.Errorf("something else is put in:\n%s", program)
	}
	if formatted, err := format.Source([]byte(program)); err != nil || string(formatted) != program {
		t.Errorf("gofmt would have it otherwise (%v):\n%s", err, formatted)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go":         program,
		"go.mod":          "module snippet\n\ngo 1.26\n\nrequire github.com/aptly-cloud/go v0.0.0\n\nreplace github.com/aptly-cloud/go => ./client\n",
		"client/aptly.go": goClient,
		"client/go.mod":   "module github.com/aptly-cloud/go\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vet := exec.CommandContext(t.Context(), "go", "vet", ".")
	vet.Dir = dir
	vet.Env = append(os.Environ(), "GOWORK=off", "GOPROXY=off", "GOFLAGS=-mod=mod")
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

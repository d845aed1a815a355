package console

import (
	"encoding/json"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The Go program that the console shows compiles as it stands.
func TestGoSnippetCompiles(t *testing.T) {
	page, err := os.ReadFile("assets/pages/connect.js")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "=> `package main\n")
	program, _, ended := strings.Cut(rest, "`,")
	if !found || !ended {
		t.Fatal("connect.js has no snippet for Go")
	}
	program = "package main\n" + strings.ReplaceAll(program, "${urls[0].replace(/^ws/, 'http')}",
		"http://localhost:8080") + "\n"
	if strings.ContainsAny(program, "$\\") {
		t.Errorf("something else is put in:\n%s", program)
	}
	if formatted, err := format.Source([]byte(program)); err != nil || string(formatted) != program {
		t.Errorf("gofmt would have it otherwise (%v):\n%s", err, formatted)
	}
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	source, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	place, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(root, "snippet", "main.go"): source},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{source: program, overlay: string(place)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", filepath.Join(dir, "snippet"),
		"./snippet")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

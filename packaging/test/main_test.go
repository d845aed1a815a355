// Package test installs what a release is made of, as an operator would, and runs it: packages
// in a fresh Debian, the image's files, and the pods of the chart. It knows nothing of how
// aptlyd works inside.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/aptlyd/aptlyd/test/lab"
)

const repository = "../.."

var (
	version string // of all that is built here
	program string // the static program of a release
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "aptlyd-packaging-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	remove, err := lab.Afterwards(`rm -rf "$1"`, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = remove() }() // what is left is in a folder for what may be left
	os.Setenv("TMPDIR", dir)
	program = filepath.Join(dir, "aptlyd")
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds the program as a release does, with the modules of the tree's root.
func build() error {
	out, err := exec.Command(filepath.Join(repository, "hack", "version.sh")).Output()
	if err != nil {
		return fmt.Errorf("version: %w", err)
	}
	version = strings.TrimSpace(string(out))
	cmd := exec.Command("go", "build", "-trimpath", "-o", program,
		"-ldflags", "-s -w -X github.com/aptlyd/aptlyd/node.Version="+version, "./cmd/aptlyd")
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// manual writes the man pages and completions as a release does, once.
var manual = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(program), "manual")
	cmd := exec.Command("go", "test", "./cmd/aptlyd", "-run", "TestManual", "-count", "1", "-args", "-manual", dir)
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("write the manual: %w\n%s", err, out)
	}
	return dir, nil
})

const goarch = runtime.GOARCH

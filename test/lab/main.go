package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Main builds aptlyd with the build flags given, says where to, and runs the tests. All
// temporary folders lie in one of their own, with the program, which goes however the
// tests end: those of tests that were killed or timed out too.
func Main(m *testing.M, aptlyd *string, flags ...string) (code int) {
	dir, err := os.MkdirTemp("", "aptlyd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	remove, err := Afterwards(`rm -rf "$1"`, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = remove() }() // what is left is in a folder for what may be left
	os.Setenv("TMPDIR", dir)
	*aptlyd = filepath.Join(dir, "aptlyd")
	build := exec.Command("go", append(append([]string{"build", "-o", *aptlyd}, flags...), "github.com/aptlyd/aptlyd/cmd/aptlyd")...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build aptlyd:", err)
		return 1
	}
	return m.Run()
}

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Main builds aptlyd with patches and build flags, says where to, and runs the tests. All
// temporary folders lie in one of their own, with the program, which goes however the
// tests end: those of tests that were killed or timed out too.
func Main(m *testing.M, aptlyd *string, patches []string, flags ...string) (code int) {
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
	if err := Build(*aptlyd, patches, flags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

package machine

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestMemoryOfControlGroups(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"memory.max": "max\n", "a/memory.max": "3000\n", "a/b/memory.max": "max\n",
		"c/memory.max": "4000\n", "c/d/memory.max": "1000\n",
		"memory/memory.limit_in_bytes": "9000\n", "memory/a/memory.limit_in_bytes": "5000\n",
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for groups, want := range map[string]int64{
		"":                              math.MaxInt64,
		"0::/\n":                        math.MaxInt64,
		"0::/a/b\n":                     3000,
		"0::/c/d\n":                     1000,
		"0::/gone/away\n":               math.MaxInt64,
		"4:cpu:/a\n5:memory:/a\n0::/\n": 5000,
		"5:memory:/gone\n":              9000,
		"nonsense":                      math.MaxInt64,
	} {
		if got := groupMemory(root, groups); got != want {
			t.Errorf("%q: %d, want %d", groups, got, want)
		}
	}
	if limit := MemoryLimit(); limit < 1<<20 {
		t.Errorf("the process may use %d bytes", limit)
	}
}

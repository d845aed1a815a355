package lab

import (
	"os"
	"os/exec"
	"testing"
)

// NeedRoot skips the test, loudly, where a file system or a network cannot be
// made for it.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can make file systems and networks")
	}
}

// NeedTool skips the test, loudly, where a program is missing. In CI it fails.
func NeedTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must run this test, but %s is missing", name)
		}
		t.Skipf("NOT TESTED: %s is missing", name)
	}
}

// NeedDisks skips the test where file systems cannot be mounted over files.
func NeedDisks(t testing.TB) {
	t.Helper()
	NeedRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("NOT TESTED: there are no loop devices")
	}
	NeedTool(t, "mkfs.ext4")
	NeedTool(t, "mount")
}

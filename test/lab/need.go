package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// NoDisks says why file systems cannot be mounted over files here; empty if they
// can.
func NoDisks() string {
	if why := noRight(unix.CAP_SYS_ADMIN, "mount"); why != "" {
		return why
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "there are no loop devices"
	}
	return noTool("mkfs.ext4", "mount", "fsfreeze")
}

// NoNetworks says why networks cannot be made here; empty if they can.
func NoNetworks() string {
	if why := noRight(unix.CAP_SYS_ADMIN, "make namespaces"); why != "" {
		return why
	}
	if why := noRight(unix.CAP_NET_ADMIN, "make networks"); why != "" {
		return why
	}
	return noTool("ip")
}

// NoTracing says why system calls cannot be tampered with here; empty if they can.
func NoTracing() string { return noTool("strace") }

// noRight asks for a capability: in containers root often lacks them.
func noRight(capability int, to string) string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Sprintf("capget: %v", err)
	}
	if data[capability/32].Effective&(1<<(capability%32)) == 0 {
		return "no right to " + to
	}
	return ""
}

func noTool(names ...string) string {
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return name + " is missing"
		}
	}
	return ""
}

// NeedDisks skips the test where file systems cannot be mounted over files.
func NeedDisks(t testing.TB) {
	t.Helper()
	Need(t, NoDisks())
}

// NeedNetworks skips the test where networks cannot be made.
func NeedNetworks(t testing.TB) {
	t.Helper()
	Need(t, NoNetworks())
}

// NeedTool skips the test where a program is missing.
func NeedTool(t testing.TB, name string) {
	t.Helper()
	Need(t, noTool(name))
}

// Need skips the test, loudly, and says why: what is missing, empty for nothing. Where
// something "is missing" in CI, rather than a right to do it, the test fails.
func Need(t testing.TB, missing string) {
	t.Helper()
	switch {
	case missing == "":
	case os.Getenv("CI") != "" && strings.HasSuffix(missing, " is missing"):
		t.Fatalf("CI must run this test, but %s", missing)
	default:
		t.Skip("NOT TESTED: " + missing)
	}
}

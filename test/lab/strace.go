package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Inject attaches strace to a running process and tampers with one of its system
// calls as strace's -e inject says, such as "error=EIO" or "delay_enter=100000"
// (microseconds). It ends with stop, with the process, or with the test.
func Inject(t testing.TB, pid int, call, what string) (stop func()) {
	t.Helper()
	NeedTool(t, "strace")
	cmd := exec.Command("strace", "-f", "-q", "-p", strconv.Itoa(pid),
		"-e", "trace="+call, "-e", "inject="+call+":"+what, "-o", filepath.Join(t.TempDir(), "strace"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		// A killed tracer would leave stopped threads behind; asked, it detaches.
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	return stop
}

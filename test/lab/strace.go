package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// tracerPatience is how long a tracer may take to detach.
const tracerPatience = 3 * time.Second

// Inject attaches strace to a running process and tampers with one of its system
// calls as strace's -e inject says, such as "error=EIO" or "delay_enter=100000"
// (microseconds). With paths, only calls on these files are tampered with. It
// returns once that is so, and ends with stop, with the process, or with the test.
func Inject(t testing.TB, pid int, call, what string, paths ...string) (stop func()) {
	t.Helper()
	args := []string{
		"-f", "-q", "-p", strconv.Itoa(pid),
		"-e", "trace=" + call, "-e", "inject=" + call + ":" + what, "-o", filepath.Join(t.TempDir(), "strace"),
	}
	for _, path := range paths {
		args = append(args, "-P", path)
	}
	cmd := exec.Command("strace", args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // fails with the process that it traces
	}()
	stop = func() {
		// A killed tracer would leave stopped threads behind; asked, it detaches.
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(tracerPatience):
			// It waits for what was killed while it was stopped, and what was killed waits
			// to be reaped by its tracer.
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(stop)
	for alive, traced := look(pid); alive && !traced; alive, traced = look(pid) {
		select {
		case <-ended:
			if alive, _ := look(pid); alive {
				t.Fatalf("strace did not attach: %s", &complaint)
			}
		case <-time.After(5 * time.Millisecond):
		}
	}
	return stop
}

// look reports whether a process runs, and whether it is traced.
func look(pid int) (alive, traced bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || bytes.Contains(status, []byte("\nState:\tZ")) {
		return false, false
	}
	return true, !bytes.Contains(status, []byte("\nTracerPid:\t0\n"))
}

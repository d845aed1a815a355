package lab

import (
	"context"
	"net"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// startProxy runs a proxy until the test ends. It returns when the proxy listens.
func startProxy(t testing.TB, address string, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel ends the proxy with the thread that started it, so the thread stays:
		// tests that enter a host end theirs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if err := <-ended; err == nil {
			t.Errorf("%s has ended by itself", cmd.Path)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		socket, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = socket.Close()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not listen: %v", cmd.Path, err)
		case err := <-ended:
			ended <- err
			t.Fatalf("%s has ended: %v", cmd.Path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freeAddress returns an address of loopback that nobody listens at now.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

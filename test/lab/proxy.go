package lab

import (
	"context"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// startProxy runs a proxy until the test ends. It returns when the proxy listens.
func startProxy(t testing.TB, address string, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
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

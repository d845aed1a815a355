package lab

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// StartHAProxy runs HAProxy until the test ends, with what config returns for a free
// port of 127.0.0.1 to listen on. It returns its address.
func StartHAProxy(t testing.TB, config func(port string) string) string {
	t.Helper()
	NeedTool(t, "haproxy")
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(config(port)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("haproxy", "-c", "-f", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Logf("haproxy -c: %s", out)
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("haproxy", "-db", "-f", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if err := <-ended; err == nil {
			t.Error("haproxy ended without an error although it was killed")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		socket, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = socket.Close()
			return address
		}
		select {
		case <-ctx.Done():
			t.Fatalf("haproxy does not listen: %v", err)
		case err := <-ended:
			ended <- err
			t.Fatalf("haproxy has ended: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

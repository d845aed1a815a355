package lab

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
	startProxy(t, address, exec.Command("haproxy", "-db", "-f", path))
	return address
}

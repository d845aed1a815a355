package lab

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// StartCaddy starts Caddy with a Caddyfile, which is given the port to listen on, and returns where
// it listens.
func StartCaddy(t testing.TB, config func(port string) string) string {
	t.Helper()
	NeedTool(t, "caddy")
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(config(port)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("caddy", "run", "--config", path, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	startProxy(t, address, cmd)
	return address
}

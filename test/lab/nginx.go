package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// StartNginx runs nginx until the test ends, with what stands in its http block:
// http(port) is given a free port of 127.0.0.1 to listen on. It returns its address.
func StartNginx(t testing.TB, http func(port string) string) string {
	t.Helper()
	NeedTool(t, "nginx")
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/pid;
error_log %[1]s/error.log warn;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
%[2]s
}
`, dir, http(port))
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-c", path, "-e", filepath.Join(dir, "error.log"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if err := <-ended; err == nil {
			t.Error("nginx has ended by itself")
		}
		if log, err := os.ReadFile(filepath.Join(dir, "error.log")); t.Failed() && len(log) > 0 {
			t.Logf("log of nginx (%v):\n%s", err, log)
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
			t.Fatalf("nginx does not listen: %v", err)
		case err := <-ended:
			ended <- err
			t.Fatalf("nginx has ended: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// SubPath is an http block that has a node below /rt/, as most people write it: with a
// path in proxy_pass, so that nginx decodes, merges and cleans paths. The other paths
// are another program's.
func SubPath(port, node string) string {
	return fmt.Sprintf(`
	map $http_upgrade $connection_upgrade { default upgrade; '' close; }
	upstream node { server %s; }
	server {
		listen 127.0.0.1:%s;
		location / { return 418 "another program\n"; }
		location /rt/ {
			proxy_pass http://node/;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_upgrade;
		}
	}`, node, port)
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

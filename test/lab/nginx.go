package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
	log := filepath.Join(dir, "error.log")
	t.Cleanup(func() {
		if text, err := os.ReadFile(log); t.Failed() && len(text) > 0 {
			t.Logf("log of nginx (%v):\n%s", err, text)
		}
	})
	startProxy(t, address, exec.Command("nginx", "-c", path, "-e", log))
	return address
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

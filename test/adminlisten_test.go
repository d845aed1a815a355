package test

import (
	"net"
	"net/http"
	"testing"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
)

// TestAdminListen starts a node with a port for its operators. The
// console, admin API and metrics are served there only, and health is on both.
func TestAdminListen(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	operators := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	c := spawn(t, bench.SpawnOptions{
		Nodes: 1, Binary: binary, Dir: t.TempDir(),
		Args: []string{"--admin-listen", operators},
	})
	for path, want := range map[string][2]int{
		"/healthz": {200, 200}, "/readyz": {200, 200}, "/metrics": {404, 200}, "/console/": {
			404,
			200,
		}, "/admin/v1/whoami": {404, 401},
	} {
		for i, addr := range []string{c.Addr(0), operators} {
			res, err := http.Get("http://" + addr + path) //nolint:noctx // the client's timeout is enough
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want[i] {
				t.Errorf("%s on %s: %d, want %d", path, addr, res.StatusCode, want[i])
			}
		}
	}
	admin := &client.Admin{BaseURL: "http://" + operators, Token: c.keys().admin}
	projects := 0
	for _, err := range admin.Projects(within(t, deadline)) {
		if err != nil {
			t.Fatal(err)
		}
		projects++
	}
	if projects != 1 {
		t.Errorf("%d projects are listed", projects)
	}
}

package test

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
)

// TestSupervisorIsTold runs a node as systemd does with Type=notify and WatchdogSec.
func TestSupervisorIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	const watchdog = 3 * time.Second
	c := spawn(t, bench.SpawnOptions{
		Nodes: 1, Binary: binary, Dir: t.TempDir(),
		Env: []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=3000000"},
	})
	await := func(want string) (said []string) {
		t.Helper()
		for {
			if err := socket.SetReadDeadline(time.Now().Add(deadline)); err != nil {
				t.Fatal(err)
			}
			message := make([]byte, 4096)
			n, err := socket.Read(message)
			if err != nil {
				t.Fatalf("waiting for %s: %v; so far: %q", want, err, said)
			}
			for state := range strings.SplitSeq(string(message[:n]), "\n") {
				if said = append(said, state); state == want {
					return said
				}
			}
		}
	}
	await("READY=1")
	if got := status(within(t, deadline), c, 0, "/readyz"); got != http.StatusOK {
		t.Errorf("READY=1 was told and /readyz answers %d", got)
	}
	await("WATCHDOG=1")
	for began, beats := time.Now(), 0; beats < 3; beats++ {
		await("WATCHDOG=1")
		if passed := time.Since(began); passed > time.Duration(beats+1)*watchdog {
			t.Errorf("beat %d after %v: systemd would have ended the node", beats, passed)
		}
	}
	if err := c.Stop(within(t, deadline), 0); err != nil {
		t.Fatal(err)
	}
	if said := await("STOPPING=1"); strings.Contains(strings.Join(said, " "), "READY=1") {
		t.Errorf("READY=1 is told again: %q", said)
	}
}

package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
)

// TestMoreClientsThanDescriptors lets more clients come than the process may have open,
// with a bound on connections that is far above. The node lowers the bound, goes on for
// those it has, and is as before when the others are gone.
func TestMoreClientsThanDescriptors(t *testing.T) {
	t.Parallel()
	const limit, clients = 300, 600
	limited := filepath.Join(t.TempDir(), "aptlyd")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", limit, binary)
	if err := os.WriteFile(limited, []byte(script), 0o700); err != nil { //nolint:gosec // it has to be run
		t.Fatal(err)
	}
	c := spawn(t, bench.SpawnOptions{
		Nodes: 1, Binary: limited, Dir: t.TempDir(), Args: []string{"--max-connections", "100000"},
	})
	cl := connect(t, c, c.ServerKey, 0)
	for range clients {
		conn, err := net.Dial("tcp", c.Addr(0)) // the backlog takes those that are not accepted
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	// The node looks after its disk, its state and its peers every second or so.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := cl.Publish(within(t, deadline), client.Publication{Channel: "c", Data: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-c.Exited(0):
		t.Fatal("the node has ended")
	default:
	}
	if log := c.readLog(t, 0); !strings.Contains(log, "max-connections") || !strings.Contains(log, "lowered") {
		t.Errorf("the log does not say that the bound was lowered: %s", log)
	}
}

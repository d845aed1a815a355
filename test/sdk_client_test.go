package test

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

// sdkEvent is something that happened to a client of the JavaScript SDK.
type sdkEvent struct {
	Event   string          `json:"event"` // "status", "connected", "refused", "message", "publishedHttp"
	Status  string          `json:"status"`
	Reason  string          `json:"reason"`
	Channel string          `json:"channel"`
	Data    json.RawMessage `json:"data"`
	Offset  uint64          `json:"offset"`
	Replay  bool            `json:"replay"`
	Answer  struct {
		Success bool   `json:"success"`
		Offset  uint64 `json:"offset"`
	} `json:"answer"`
}

// sdkClient is the published JavaScript SDK in a process of its own.
type sdkClient struct {
	t      *testing.T
	in     io.WriteCloser
	events chan sdkEvent
}

// needNode skips the test where Node.js or the SDK is missing.
func needNode(t *testing.T) {
	t.Helper()
	lab.NeedTool(t, "node")
	if _, err := os.Stat("sdk/node_modules"); err != nil {
		lab.Need(t, "the JavaScript SDK (make sdk) is missing")
	}
}

// startNode starts a program of Node.js that talks over pipes.
func startNode(t *testing.T, folder, program string, env ...string) (in io.WriteCloser, out io.Reader, cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.Command("node", program)
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err = cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return in, out, cmd
}

// startSDK starts a client for an endpoint. An empty origin means a native app.
func startSDK(t *testing.T, endpoint, key, origin string) *sdkClient {
	t.Helper()
	needNode(t)
	in, out, cmd := startNode(t, "sdk", "driver.mjs", "ENDPOINT="+endpoint, "API_KEY="+key, "ORIGIN="+origin)
	c := &sdkClient{t: t, in: in, events: make(chan sdkEvent, 10_000)}
	go func() {
		defer close(c.events)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			var e sdkEvent
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("the SDK driver printed %q: %v", lines.Text(), err)
				return
			}
			c.events <- e
		}
	}()
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("SDK driver: %v", err)
		}
	})
	return c
}

func (c *sdkClient) command(name string, fields map[string]any) {
	c.t.Helper()
	line := map[string]any{"cmd": name}
	maps.Copy(line, fields)
	if err := json.NewEncoder(c.in).Encode(line); err != nil {
		c.t.Fatalf("command %s: %v", name, err)
	}
}

// await returns the next event of one kind and passes over the others.
func (c *sdkClient) await(kind string, within time.Duration) sdkEvent {
	c.t.Helper()
	deadline := time.After(within)
	var last sdkEvent
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				c.t.Fatalf("the SDK client ended while waiting for %q", kind)
			}
			if e.Event == kind {
				return e
			}
			last = e
		case <-deadline:
			c.t.Fatalf("no %q from the SDK within %v; the last event was %+v", kind, within, last)
		}
	}
}

// connect connects and returns once the SDK says so.
func (c *sdkClient) connect() {
	c.t.Helper()
	c.command("connect", nil)
	c.await("connected", 10*time.Second)
}

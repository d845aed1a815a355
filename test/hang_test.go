package test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

// readiness returns status and text of /readyz at node i.
func readiness(t *testing.T, c site, i int) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, 5*time.Second), http.MethodGet, url(c, i)+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// A state file that is not written costs the leader its leadership before it costs
// the node: the log goes on, so acknowledgements do.
func TestHangingStateOfTheLeader(t *testing.T) {
	lab.NeedTool(t, "strace")
	c := startCluster(t, 3)
	l := startLoad(t, c, 10, 200)
	l.await(200)
	lead := leader(t, c)
	l.watch()
	state := filepath.Join(c.Dir(lead), "state", "state.db")
	lab.Inject(t, c.PID(lead), "fdatasync", "delay_exit=15000000", state)
	injected := time.Now()

	unready := ""
	eventually(t, deadline, func() error {
		select {
		case <-c.Exited(lead):
			return fmt.Errorf("the node ended before /readyz said that it hangs")
		default:
		}
		code, text := readiness(t, c, lead)
		if code != http.StatusServiceUnavailable {
			return fmt.Errorf("/readyz of a node whose state hangs: %d %s", code, text)
		}
		unready = text
		return nil
	})
	t.Logf("/readyz after %v: %s", time.Since(injected), unready)
	if !strings.Contains(unready, "has not finished for") {
		t.Errorf("/readyz does not say what hangs: %s", unready)
	}
	eventually(t, deadline, func() error {
		for i := range c.Len() {
			if i == lead {
				continue
			}
			status, err := admin(c, i).Status(within(t, 2*time.Second))
			if err == nil && status.Leader != "" && status.Leader != c.Name(lead) {
				return nil
			}
		}
		return fmt.Errorf("a node that cannot write its state leads on")
	})
	t.Logf("another node leads after %v", time.Since(injected))
	l.await(400)
	t.Logf("longest pause between acknowledgements: %v", l.pause())
	restartHung(t, c, lead)
	l.end()
	l.check()
}

// A disk that is slow costs a leader its leadership, since its own write is part of
// every acknowledgement.
func TestSlowDiskOfTheLeader(t *testing.T) {
	lab.NeedTool(t, "strace")
	c := startCluster(t, 3)
	l := startLoad(t, c, 10, 100)
	l.await(200)
	lead := leader(t, c)
	stop := lab.Inject(t, c.PID(lead), "fsync", "delay_exit=200000")
	injected := time.Now()
	// one after the other, at a node that is not slow
	sequence := func() time.Duration {
		begun := time.Now()
		for i := range 20 {
			mustPublish(t, c, (lead+1)%c.Len(), "sequence", i)
		}
		return time.Since(begun) / 20
	}
	slow := sequence()
	eventually(t, deadline, func() error {
		if leader(t, c) == lead {
			return fmt.Errorf("a node that takes 200 ms for a sync leads on")
		}
		return nil
	})
	t.Logf("another node leads after %v", time.Since(injected))
	if log := c.readLog(t, lead); !strings.Contains(log, "this node's disk is slow") {
		t.Errorf("the node does not say why")
	}
	l.await(200)
	t.Logf("a publish takes %v while the slow node leads, %v afterwards", slow, sequence())
	stop()
	l.end()
	l.check()
}

package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// goAwayFrame is what a client is told when its node drains.
type goAwayFrame struct {
	Reason    string   `json:"reason"`
	StartInMs int64    `json:"startInMs"`
	WithinMs  int64    `json:"withinMs"`
	Endpoints []string `json:"endpoints"`
}

func (c *client) wantGoAway() goAwayFrame {
	c.t.Helper()
	var f goAwayFrame
	if err := json.Unmarshal([]byte(c.want("goaway").raw), &f); err != nil {
		c.t.Fatal(err)
	}
	return f
}

func (h *harness) drain() (done chan error) {
	done = make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- h.server.Drain(ctx)
	}()
	return done
}

func TestDrainTellsClientsTheirPlaceInTheSpread(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.Loops, c.DrainSpread = 1, 2*time.Second })
		h.broker.set(func() { h.broker.endpoints = []string{"wss://b.example.com", "wss://c.example.com"} })
		var clients []*client
		for range 4 {
			clients = append(clients, h.announce(`"features":["goaway"]`))
		}
		began := time.Now()
		drained := h.drain()
		firsts := make(map[string]int)
		for i, c := range clients {
			f := c.wantGoAway()
			place, passed := int64(500*i), time.Since(began).Milliseconds()+1
			if f.Reason != "draining" || f.StartInMs < place-passed || f.StartInMs > place ||
				f.WithinMs < f.StartInMs+1000 || len(f.Endpoints) != 2 {
				t.Errorf("client %d is told %+v", i, f)
			}
			firsts[f.Endpoints[0]]++
		}
		if len(firsts) != 2 {
			t.Errorf("all clients are sent to the same node first: %v", firsts)
		}
		// Until it goes by itself a client is served as before.
		clients[3].text(`{"type":"publish","channel":"c","message":1}`)
		clients[3].want("published")
		for _, c := range clients {
			c.send(string(clientFrame(8, true, []byte{3, 232})))
			_ = c.next()
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

func TestDrainClosesWhoDoesNotGo(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.DrainSpread = time.Millisecond })
		c := h.announce(`"features":["goaway","strict"]`)
		began := time.Now()
		drained := h.drain()
		f := c.wantGoAway()
		if len(f.Endpoints) != 0 || !strings.Contains(fmt.Sprint(f.Endpoints), "[]") {
			t.Errorf("told %+v", f)
		}
		c.wantClose(closeRestart)
		if stayed := time.Since(began); stayed < time.Duration(f.WithinMs)*time.Millisecond-100*time.Millisecond {
			t.Errorf("closed after %v, it was told %d ms", stayed, f.WithinMs)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// Published clients, and others that do not know goaway, are closed at their place.
func TestDrainShowsNothingNewToPublishedClients(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.DrainSpread = time.Millisecond })
		published, other := h.open(h.secret), h.announce(`"features":["ping"],"sdk":"x/1"`)
		drained := h.drain()
		published.wantClose(closeRestart)
		other.wantClose(closeRestart)
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// Who comes while balancers still send clients is told, too, once they do not any more.
func TestDrainTellsWhoComesLate(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.DrainLinger, c.DrainSpread = 300*time.Millisecond, 400*time.Millisecond
		})
		first := h.announce(`"features":["goaway"]`)
		drained := h.drain()
		first.wantGoAway()
		late := h.dial("Origin: " + testOrigin + "\r\n") // authenticates in the time that is left
		late.text(`{"type":"auth","apiKey":%q,"features":["goaway"]}`, h.secret)
		late.want("auth_success")
		late.want("connected")
		late.wantGoAway()
		for _, c := range []*client{first, late} {
			c.send(string(clientFrame(8, true, []byte{3, 232})))
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

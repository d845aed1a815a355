package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// swarmReport is what one process of sdk/js/test/swarm.mjs tells at its end.
type swarmReport struct {
	Sent     int      `json:"sent"`
	Refused  []string `json:"refused"` // codes
	Received int      `json:"received"`
	Lost     int      `json:"lost"`
	Repeated int      `json:"repeated"`
	Gaps     int      `json:"gaps"`
	Behind   int      `json:"behind"` // clients without all that was acknowledged
	Statuses []string `json:"statuses"`
	Dials    []int64  `json:"dials"`  // Unix ms of connections made during the restart
	Median   int      `json:"median"` // of publishes, ms
	Worst    int      `json:"worst"`
}

// swarm is one process with many clients of our own SDK.
type swarm struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

func startSwarm(t *testing.T, c spawned, name string, clients, channels, rate int) *swarm {
	t.Helper()
	endpoints, err := json.Marshal(c.Servers())
	if err != nil {
		t.Fatal(err)
	}
	in, out, cmd := startNode(t, sdkFolder, "test/swarm.mjs",
		"NAME="+name, "CLIENTS="+strconv.Itoa(clients), "CHANNELS="+strconv.Itoa(channels),
		"RATE="+strconv.Itoa(rate), "ENDPOINTS="+string(endpoints), "KEY="+c.ServerKey)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &swarm{t, in, bufio.NewReaderSize(out, 1<<20)}
}

// tell writes a line to the process.
func (s *swarm) tell(line any) {
	s.t.Helper()
	text, err := json.Marshal(line)
	if err == nil {
		_, err = fmt.Fprintf(s.in, "%s\n", text)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// hear reads a line from it.
func (s *swarm) hear(into any) {
	s.t.Helper()
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		s.t.Fatalf("the swarm says nothing: %v", err)
	}
	if err := json.Unmarshal(line, into); err != nil {
		s.t.Fatalf("the swarm says %q", line)
	}
}

// gopher is a client of the Go package that follows and publishes.
type gopher struct {
	t         *testing.T
	client    *client.Client
	lost      atomic.Int64
	offsets   []uint64 // owned by the client's reading goroutine until it has ended
	stop      chan struct{}
	published sync.WaitGroup
}

func startGopher(t *testing.T, c spawned) *gopher {
	t.Helper()
	g := &gopher{t: t, stop: make(chan struct{})}
	var err error
	g.client, err = client.New(client.Options{
		Endpoints: c.Servers(), APIKey: c.ServerKey, OnDisconnect: func(error) { g.lost.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.client.Close)
	_, err = g.client.Subscribe(within(t, deadline), "gopher", client.SubscribeOptions{
		From: client.All(), OnMessage: func(m client.Message) { g.offsets = append(g.offsets, m.Offset) },
	})
	if err != nil {
		t.Fatal(err)
	}
	g.published.Go(func() {
		for {
			select {
			case <-g.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			g.published.Go(func() {
				if _, err := g.client.Publish(t.Context(), client.Publication{Channel: "gopher", Data: 1}); err != nil {
					t.Errorf("the Go client's publish: %v", err)
				}
			})
		}
	})
	return g
}

// end checks what the client has seen.
func (g *gopher) end() {
	g.t.Helper()
	close(g.stop)
	g.published.Wait()
	g.client.Close()
	if n := g.lost.Load(); n != 1 { // Close is one
		g.t.Errorf("the Go client lost its connection %d times", n-1)
	}
	for i, offset := range g.offsets {
		if offset != uint64(i)+1 {
			g.t.Fatalf("the Go client got offset %d as message %d", offset, i+1)
		}
	}
	g.t.Logf("the Go client got %d messages", len(g.offsets))
}

// TestRollingRestartUnderSDKClients restarts each of three nodes in turn under clients of
// our own SDK: nobody sees another status than connected, and nothing is lost, repeated
// or refused. APTLYD_LONG=1 has a thousand clients and the default spread.
func TestRollingRestartUnderSDKClients(t *testing.T) {
	needOwnSDK(t)
	processes, clients, channels, rate, spread := 2, 30, 5, 50, "2s"
	if long() {
		processes, clients, channels, rate, spread = 4, 250, 20, 50, "10s"
	}
	c := startCluster(t, 3, "--drain-spread", spread, "--drain-linger", "500ms")
	var swarms []*swarm
	for i := range processes {
		s := startSwarm(t, c, strconv.Itoa(i), clients, channels, rate)
		s.hear(&struct{ Ready bool }{})
		swarms = append(swarms, s)
	}
	gopher := startGopher(t, c)
	began := time.Now()
	for node := range c.Len() {
		stopped := time.Now()
		if err := c.Stop(within(t, deadline), node); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s stopped within %v", c.Name(node), time.Since(stopped).Round(time.Millisecond))
		if err := c.Restart(within(t, deadline), node); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	gopher.end()
	heads := make(map[string]int)
	for _, s := range swarms {
		var said struct{ Heads map[string]int }
		s.tell("stop")
		s.hear(&said)
		for channel, head := range said.Heads {
			heads[channel] = max(heads[channel], head)
		}
	}
	curve := make([]int, int(took/time.Second)+2)
	for i, s := range swarms {
		var r swarmReport
		s.tell(heads)
		s.hear(&r)
		t.Logf("process %d: %d published (median %d ms, worst %d ms), %d received", i, r.Sent, r.Median, r.Worst, r.Received)
		if len(r.Refused) > 0 || r.Lost+r.Repeated+r.Gaps+r.Behind+len(r.Statuses) > 0 {
			t.Errorf("process %d: refused %v, lost %d, repeated %d, gaps %d, clients behind %d, statuses %v",
				i, r.Refused, r.Lost, r.Repeated, r.Gaps, r.Behind, r.Statuses)
		}
		for _, at := range r.Dials {
			if second := int(time.UnixMilli(at).Sub(began) / time.Second); second >= 0 && second < len(curve) {
				curve[second]++
			}
		}
	}
	t.Logf("connections made in each second of %v: %v", took.Round(time.Second), curve)
}

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/sync/errgroup"
)

// audience is many connections with one key, each of which remembers how it ended.
// They are plain sockets: what a client library would do about an end is not to
// be in the way.
type audience struct {
	members []*member
	ended   sync.WaitGroup
}

// member is one connection of an audience. What its reader writes is to be read once
// done is closed.
type member struct {
	node   int
	socket net.Conn
	done   chan struct{}

	at       time.Time     // when the close frame came, or the socket ended
	refusal  string        // code of the last error frame
	close    ws.StatusCode // 0 when there was no close frame
	messages []string      // what was delivered
}

// gather connects perNode members to each of the nodes, subscribed to a channel.
func gather(t *testing.T, c site, key, channel string, perNode int, nodes ...int) *audience {
	t.Helper()
	g := &audience{}
	var dialing errgroup.Group
	dialing.SetLimit(32)
	var mu sync.Mutex
	for _, node := range nodes {
		for range perNode {
			dialing.Go(func() error {
				m, err := join(c, key, channel, node)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				g.members = append(g.members, m)
				g.ended.Go(m.read)
				return nil
			})
		}
	}
	err := dialing.Wait()
	t.Cleanup(func() {
		for _, m := range g.members {
			m.socket.Close()
		}
		g.ended.Wait()
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func join(c site, key, channel string, node int) (*member, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	socket, early, _, err := ws.Dial(ctx, c.Servers()[node])
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.Name(node), err)
	}
	if early != nil {
		ws.PutReader(early) // nothing is sent before the client has said who it is
	}
	m := &member{node: node, socket: socket, done: make(chan struct{})}
	for _, frame := range []string{
		fmt.Sprintf(`{"type":"auth","apiKey":%q}`, key), fmt.Sprintf(`{"type":"subscribe","channel":%q}`, channel),
	} {
		if err := wsutil.WriteClientText(socket, []byte(frame)); err != nil {
			return nil, fmt.Errorf("greet %s: %w", c.Name(node), err)
		}
	}
	for _, want := range []string{"auth_success", "connected", "subscribed"} {
		text, err := wsutil.ReadServerText(socket)
		if err != nil {
			return nil, fmt.Errorf("hear from %s: %w", c.Name(node), err)
		}
		if !strings.Contains(string(text), `"type":"`+want+`"`) {
			return nil, fmt.Errorf("%s answers %s instead of %s", c.Name(node), text, want)
		}
	}
	return m, nil
}

// read takes what comes until the connection ends.
func (m *member) read() {
	defer close(m.done)
	defer func() { m.at = time.Now() }()
	for {
		header, err := ws.ReadHeader(m.socket)
		if err != nil {
			return
		}
		payload := make([]byte, header.Length)
		for read := 0; read < len(payload); {
			n, err := m.socket.Read(payload[read:])
			if err != nil {
				return
			}
			read += n
		}
		switch header.OpCode {
		case ws.OpClose:
			m.close, _ = ws.ParseCloseFrameData(payload)
			return
		case ws.OpText:
			var frame struct {
				Type, Code string
				Data       json.RawMessage
			}
			if err := json.Unmarshal(payload, &frame); err != nil {
				return
			}
			switch frame.Type {
			case "error":
				m.refusal = frame.Code
			case "message":
				m.messages = append(m.messages, string(frame.Data))
			}
		}
	}
}

// of returns those members that are on a node.
func (g *audience) of(node int) (members []*member) {
	for _, m := range g.members {
		if m.node == node {
			members = append(members, m)
		}
	}
	return members
}

// await waits until members have ended, each within a time of an event, and
// returns how long the last one took.
func await(t *testing.T, members []*member, event time.Time, within time.Duration) (last time.Duration) {
	t.Helper()
	late := 0
	for _, m := range members {
		select {
		case <-m.done:
			if took := m.at.Sub(event); took > within {
				late++
			}
			last = max(last, m.at.Sub(event))
		case <-time.After(time.Until(event.Add(within + 10*time.Second))):
			t.Fatalf("a connection to node %d lives on", m.node)
		}
	}
	if late > 0 {
		t.Errorf("%d of %d connections ended later than after %v, the last after %v", late, len(members), within, last)
	}
	return last
}

// wantRevoked expects that members were told of the end of their key.
func wantRevoked(t *testing.T, members []*member) {
	t.Helper()
	for _, m := range members {
		if m.close != 1000 || m.refusal != "key_revoked" {
			t.Errorf("a connection to node %d ended with %d %q", m.node, m.close, m.refusal)
			return
		}
	}
}

// wantAlive expects that nobody of the audience has left.
func (g *audience) wantAlive(t *testing.T) {
	t.Helper()
	for _, m := range g.members {
		select {
		case <-m.done:
			t.Errorf("a connection to node %d ended with %d %q", m.node, m.close, m.refusal)
			return
		default:
		}
	}
}

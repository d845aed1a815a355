package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/aptlyd/aptlyd/client"
)

// roomClient is a bare WebSocket of a backend.
type roomClient struct {
	t      *testing.T
	socket net.Conn
}

// enterNode connects to one node.
func enterNode(t *testing.T, c spawned, node int) roomClient {
	t.Helper()
	dial, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	socket, early, _, err := ws.Dial(dial, "ws://"+c.Addr(node)+"/realtime")
	if err != nil {
		t.Fatal(err)
	}
	if early != nil {
		ws.PutReader(early) // nothing is sent before the client has said who it is
	}
	t.Cleanup(func() { _ = socket.Close() })
	r := roomClient{t, socket}
	r.send(`{"type":"auth","apiKey":%q,"features":["presence"]}`, c.ServerKey)
	r.until("connected")
	return r
}

func (r roomClient) send(format string, args ...any) {
	r.t.Helper()
	if err := wsutil.WriteClientText(r.socket, fmt.Appendf(nil, format, args...)); err != nil {
		r.t.Fatal(err)
	}
}

// roomFrame is a frame about members.
type roomFrame struct {
	Type    string
	Entered []struct{ ID string }
	Updated []struct{ ID string }
	Left    []struct{ ID, Reason string }
}

// next returns the next frame, or false when the connection ends.
func (r roomClient) next() (f roomFrame, ok bool) {
	text, err := wsutil.ReadServerText(r.socket)
	if err != nil {
		return f, false
	}
	if err := json.Unmarshal(text, &f); err != nil {
		r.t.Errorf("%s: %v", text, err)
	}
	return f, true
}

func (r roomClient) until(kind string) {
	r.t.Helper()
	for {
		f, ok := r.next()
		if !ok {
			r.t.Fatalf("the connection ended, want %s", kind)
		}
		if f.Type == kind {
			return
		}
	}
}

func (r roomClient) enter(id string) {
	r.t.Helper()
	r.send(`{"type":"presence","channel":"room","action":"enter","id":%q}`, id)
	r.until("presence_ok")
}

// watchRoom returns what a watcher on a node is told, event by event.
func watchRoom(t *testing.T, c spawned, node int) <-chan string {
	t.Helper()
	r := enterNode(t, c, node)
	r.send(`{"type":"subscribe","channel":"room","presence":"members"}`)
	r.until("presence") // the sync of an empty room
	events := make(chan string, 100)
	go func() {
		defer close(events)
		for {
			f, ok := r.next()
			if !ok {
				return
			}
			for _, m := range f.Entered {
				events <- "+" + m.ID
			}
			for _, m := range f.Updated {
				events <- "=" + m.ID
			}
			for _, m := range f.Left {
				events <- "-" + m.ID + " " + m.Reason
			}
		}
	}()
	return events
}

// wantEvents takes as many events as are wanted, in any order, and fails for others.
func wantEvents(t *testing.T, events <-chan string, patience time.Duration, want ...string) {
	t.Helper()
	var got []string
	for end := time.After(patience); len(got) < len(want); {
		select {
		case e := <-events:
			got = append(got, e)
		case <-end:
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// When a node is killed its members leave on the others, each once and because of the node.
// Those who are back elsewhere in time do not leave at all.
func TestMembersLeaveWithTheirNode(t *testing.T) {
	t.Parallel()
	patience := client.Duration(5 * time.Second)
	c := startCluster(t, 3)
	rules := []client.Rule{{Pattern: "room", Presence: &client.PresenceRule{Grace: &patience}}}
	if _, err := admin(c, 0).UpdateProject(within(t, deadline), defaultProject(t, c).ID,
		client.ProjectChange{Rules: &rules}); err != nil {
		t.Fatal(err)
	}
	const doomed = 2
	watchers := []<-chan string{watchRoom(t, c, 0), watchRoom(t, c, 1)}
	gone := enterNode(t, c, doomed)
	for _, id := range []string{"anna", "bert", "carl"} {
		gone.enter(id)
	}
	reloads := enterNode(t, c, 1)
	reloads.enter("dora")
	for _, w := range watchers {
		wantEvents(t, w, deadline, "+anna", "+bert", "+carl", "+dora")
	}
	// A connection that breaks and is back within the grace, on another node, is nothing.
	if err := reloads.socket.Close(); err != nil {
		t.Fatal(err)
	}
	back := enterNode(t, c, 0)
	back.enter("dora")
	if err := c.Kill(doomed); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	back.enter("carl") // it comes back elsewhere
	for _, w := range watchers {
		wantEvents(t, w, deadline, "-anna node", "-bert node")
	}
	if took := time.Since(killed); took < 10*time.Second {
		t.Errorf("members left %v after their node was killed: it might have served them still", took)
	}
	// The last word is the same everywhere, also from a backend's view.
	for node := range 2 {
		eventually(t, deadline, func() error {
			var ids []string
			for m, err := range rest(c, node).Members(t.Context(), "room") {
				if err != nil {
					return err
				}
				ids = append(ids, m.ID)
			}
			if want := []string{"carl", "dora"}; !slices.Equal(ids, want) {
				return fmt.Errorf("node %d has %q, want %q", node, ids, want)
			}
			return nil
		})
	}
	if err := back.socket.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range watchers {
		wantEvents(t, w, deadline, "-carl timeout", "-dora timeout")
	}
}

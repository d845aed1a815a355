package client

import (
	"errors"
	"testing"
)

func TestPresenceIsTakenUpAgain(t *testing.T) {
	f := startFake(t)
	c := connectTo(t, quick, f.URL)
	conn := f.welcome(t)
	changes := make(chan PresenceChange, 10)
	p := c.Presence("room", PresenceOptions{OnChange: func(change PresenceChange) { changes <- change }})
	if got := conn.expect("subscribe"); got["presence"] != "members" || got["channel"] != "room" {
		t.Errorf("got %v", got)
	}
	conn.send(`{"type":"subscribed","channel":"room","offset":0}`)
	conn.send(`{"type":"presence","channel":"room","sync":{"part":1,"last":false},"members":[{"id":"b","data":1}],` +
		`"count":2}`)
	conn.send(`{"type":"presence","channel":"room","sync":{"part":2,"last":true},"members":[{"id":"a","data":null}],` +
		`"count":2}`)
	if got := <-changes; !got.Anew || got.Count != 2 || len(got.Members) != 2 || got.Members[0].ID != "a" {
		t.Errorf("got %+v", got)
	}
	entered := make(chan error, 1)
	go func() { entered <- p.Enter(t.Context(), map[string]int{"mood": 1}) }()
	if got := conn.expect("presence"); got["action"] != "enter" || got["data"] == nil {
		t.Errorf("got %v", got)
	}
	// The connection is lost before the answer: the next one has it all again.
	conn.close(1012)
	conn = f.welcome(t)
	conn.expect("subscribe")
	if got := conn.expect("presence"); got["action"] != "enter" {
		t.Errorf("got %v", got)
	}
	conn.send(`{"type":"presence_ok","channel":"room","action":"enter","id":"me"}`)
	if err := <-entered; err != nil {
		t.Error(err)
	}
	conn.send(`{"type":"presence","channel":"room","entered":[{"id":"me"}],"updated":[],"left":[{"id":"b",` +
		`"reason":"timeout"}],"count":2}`)
	if got := <-changes; got.Anew || len(got.Entered) != 1 || got.Left[0].Reason != "timeout" || len(p.Members()) != 2 {
		t.Errorf("got %+v", got)
	}
	conn.send(`{"type":"occupancy","channel":"room","subscribers":7,"members":5000}`)
	if got := <-changes; got.Count != 5000 || got.Subscribers != 7 || len(got.Members) != 0 {
		t.Errorf("got %+v", got)
	}
	go func() { entered <- p.Update(t.Context(), 2) }()
	conn.expect("presence")
	conn.send(`{"type":"error","error":"no","code":"message_too_large","channel":"room","action":"update"}`)
	var refusal *Error
	if err := <-entered; !errors.As(err, &refusal) || refusal.Code != "message_too_large" {
		t.Errorf("got %v", err)
	}
	p.Close()
	if got := conn.expect("presence"); got["action"] != "leave" {
		t.Errorf("got %v", got)
	}
	if got := conn.expect("unsubscribe"); got["channel"] != "room" {
		t.Errorf("got %v", got)
	}
}

// To unsubscribe would be to leave: it waits for the last Presence.
func TestUnsubscribeDoesNotLeave(t *testing.T) {
	f := startFake(t)
	c := connectTo(t, quick, f.URL)
	conn := f.welcome(t)
	follows := follow(t, c, "room", All())
	conn.confirm("room", 0)
	subscription := follows.ready()
	enter := func(p *Presence) {
		t.Helper()
		answered(t, func() error { return p.Enter(t.Context(), 1) }, func() {
			if got := conn.expect("presence"); got["action"] != "enter" {
				t.Errorf("got %v", got)
			}
			conn.send(`{"type":"presence_ok","channel":"room","action":"enter","id":"me"}`)
		})
	}
	first, second := c.Presence("room", PresenceOptions{}), c.Presence("room", PresenceOptions{})
	enter(first)
	enter(second)
	subscription.Unsubscribe()
	// The server has sent what came meanwhile, and would not send it again.
	conn.send(`{"type":"message","channel":"room","data":1,"offset":1,"timestamp":1,"replay":false}`)
	answered(t, func() error { return first.Update(t.Context(), 1) }, func() {
		conn.expect("presence")
		conn.send(`{"type":"presence_ok","channel":"room","action":"update","id":"me"}`)
	})
	again := follow(t, c, "room", All())
	conn.expect("unsubscribe")
	conn.expect("subscribe")
	conn.send(`{"type":"unsubscribed","channel":"room"}`)
	for range 2 {
		if got := conn.expect("presence"); got["action"] != "enter" {
			t.Errorf("after unsubscribed: got %v", got)
		}
		conn.send(`{"type":"presence_ok","channel":"room","action":"enter","id":"me"}`)
	}
	conn.send(`{"type":"subscribed","channel":"room","offset":1}`)
	again.ready().Unsubscribe()
	first.Close()
	second.Close()
	if got := conn.expect("presence"); got["action"] != "leave" {
		t.Errorf("the last one says %v", got)
	}
	conn.expect("unsubscribe")
}

// moving returns a client that is a member of a room and was told to go, and its connections
// before and after.
func moving(t *testing.T) (p *Presence, first, second *fakeConn) {
	t.Helper()
	old, next := startFake(t), startFake(t)
	c := connectTo(t, quick, old.URL)
	first = old.welcome(t)
	f := follow(t, c, "c", All())
	first.confirm("c", 0)
	f.ready()
	p = c.Presence("room", PresenceOptions{})
	answered(t, func() error { return p.Enter(t.Context(), 1) }, func() {
		first.expect("presence")
		first.send(`{"type":"presence_ok","channel":"room","action":"enter","id":"me"}`)
	})
	first.goAway(`"` + next.URL + `"`)
	second = next.welcome(t)
	second.expect("subscribe") // it does not move before this is answered
	if got := second.expect("presence"); got["action"] != "enter" {
		t.Errorf("the next connection is told %v", got)
	}
	return p, first, second
}

// answered calls something that waits for what answer does.
func answered(t *testing.T, call func() error, answer func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	answer()
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}

func TestPresenceChangesWhileTheClientMoves(t *testing.T) {
	p, first, second := moving(t)
	for _, change := range []struct {
		action string
		call   func() error
	}{
		{"update", func() error { return p.Update(t.Context(), 2) }},
		{"leave", func() error { return p.Leave(t.Context()) }},
	} {
		answered(t, change.call, func() {
			for _, conn := range []*fakeConn{first, second} {
				if got := conn.expect("presence"); got["action"] != change.action {
					t.Errorf("a connection is told %v, want %s", got, change.action)
				}
			}
			for range 2 { // one may be taken for that of the next connection
				first.send(`{"type":"presence_ok","channel":"room","action":%q,"id":"me"}`, change.action)
			}
		})
	}
}

func TestPresenceStaysWhenTheNextConnectionFails(t *testing.T) {
	p, first, second := moving(t)
	second.socket.Close()
	if got := first.expect("presence"); got["action"] != "enter" {
		t.Errorf("the connection that stays is told %v", got)
	}
	answered(t, func() error { return p.Update(t.Context(), 2) }, func() {
		first.expect("presence")
		for range 2 {
			first.send(`{"type":"presence_ok","channel":"room","action":"update","id":"me"}`)
		}
	})
}

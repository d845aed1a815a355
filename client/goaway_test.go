package client

import (
	"context"
	"testing"
	"time"
)

// goAway tells the client to connect elsewhere now.
func (c *fakeConn) goAway(endpoints string) {
	c.t.Helper()
	c.send(`{"type":"goaway","reason":"draining","startInMs":0,"withinMs":5000,"endpoints":[%s]}`, endpoints)
}

func TestGoAwayMovesBeforeLeaving(t *testing.T) {
	old, next := startFake(t), startFake(t)
	lost := make(chan error, 10)
	c, err := newClient(Options{
		Endpoints: []string{old.URL}, APIKey: "sk_test", OnDisconnect: func(err error) { lost <- err },
	}, quick)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	first := old.welcome(t)
	f := follow(t, c, "c", All())
	first.confirm("c", 2)
	f.ready()
	first.message("c", 1)
	first.message("c", 2)
	f.offsets(1, 2)

	answered := make(chan Receipt, 2)
	publish := func(data string) {
		err := c.PublishAsync(context.Background(), Publication{Channel: "c", Data: data}, func(r Receipt, err error) {
			if err != nil {
				t.Error(err)
			}
			answered <- r
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	publish("one")
	one := first.expect("publish")
	first.goAway(`"` + next.URL + `"`)

	second := next.accept(t)
	if auth := second.expect("auth"); auth["replaces"] != "c1" {
		t.Errorf("auth is %v, want it to replace c1", auth)
	}
	second.send(`{"type":"connected","connectionId":"c2","node":"n2","epoch":"e1"}`)
	if asked := second.confirm("c", 3); asked["fromOffset"] != 2.0 {
		t.Errorf("asked for %v on the next connection", asked)
	}
	// Both have what comes now; it is delivered once, in order.
	first.message("c", 3)
	second.message("c", 3)
	first.message("c", 4)
	f.offsets(3, 4)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		holding := c.holding
		c.mu.Unlock()
		if holding {
			break
		}
		if time.Now().After(end) {
			t.Fatal("publishes are not held back")
		}
	}
	publish("held") // it may not overtake the one before
	first.send(`{"type":"published","channel":"c","id":%q,"offset":5,"timestamp":1}`, one["id"])
	if r := receive(t, answered); r.Offset != 5 || r.Attempts != 1 || r.Duplicate {
		t.Errorf("the publish under way came to %+v", r)
	}
	second.message("c", 4)
	second.message("c", 5)
	f.offsets(5)
	if s, ok := c.Session(); !ok || s.ConnectionID != "c2" {
		t.Errorf("the session is %+v, %v", s, ok)
	}
	if held := second.expect("publish"); held["message"] != "held" {
		t.Errorf("the next connection got %v", held)
	} else {
		second.send(`{"type":"published","channel":"c","id":%q,"offset":6,"timestamp":1}`, held["id"])
	}
	if r := receive(t, answered); r.Attempts != 1 {
		t.Errorf("it was sent %d times", r.Attempts)
	}
	publish("two")
	two := second.expect("publish")
	second.send(`{"type":"published","channel":"c","id":%q,"offset":7,"timestamp":1}`, two["id"])
	receive(t, answered)
	if faults := f.subscription.Faults(); faults != (Faults{}) {
		t.Errorf("faults of the server: %+v", faults)
	}
	if len(lost) > 0 {
		t.Errorf("the connection was lost: %v", <-lost)
	}
}

// The next node may be down, or its connection may break: the old one serves meanwhile.
func TestGoAwayTriesTheNextUntilOneIsThere(t *testing.T) {
	old, next := startFake(t), startFake(t)
	c := connectTo(t, quick, old.URL)
	first := old.welcome(t)
	f := follow(t, c, "c", All())
	first.confirm("c", 0)
	f.ready()
	first.goAway(`"ws://127.0.0.1:1","` + next.URL + `"`)
	broken := next.accept(t)
	broken.expect("auth")
	broken.send(`{"type":"connected","connectionId":"c2","node":"n2"}`)
	broken.expect("subscribe")
	_ = broken.socket.Close()
	first.message("c", 1)
	f.offsets(1)
	second := next.welcome(t)
	if asked := second.confirm("c", 1); asked["fromOffset"] != 1.0 {
		t.Errorf("asked for %v", asked)
	}
	second.message("c", 2)
	f.offsets(2)
}

// When the old connection ends too early the client comes back as ever.
func TestGoAwayThenLost(t *testing.T) {
	old := startFake(t)
	c := connectTo(t, quick, old.URL)
	first := old.welcome(t)
	f := follow(t, c, "c", All())
	first.confirm("c", 0)
	f.ready()
	first.message("c", 1)
	f.offsets(1)
	first.goAway(`"ws://127.0.0.1:1"`)
	first.close(1012)
	second := old.welcome(t)
	if asked := second.confirm("c", 1); asked["fromOffset"] != 1.0 {
		t.Errorf("asked for %v", asked)
	}
	second.message("c", 2)
	f.offsets(2)
}

package client

import (
	"context"
	"errors"
	"testing"

	"github.com/gobwas/ws"
)

func TestSubscriptionResumesOnTheNextNode(t *testing.T) {
	first, second := startFake(t), startFake(t)
	c := connectTo(t, quick, first.URL, second.URL)
	conn := first.welcome(t)
	f := follow(t, c, "a", After(4))
	if got := conn.confirm("a", 6); got["fromOffset"] != 4.0 || got["from"] != nil {
		t.Errorf("subscribed with %v", got)
	}
	s := f.ready()
	conn.message("a", 5)
	conn.message("a", 6)
	f.offsets(5, 6)
	conn.close(1012)

	conn = second.welcome(t)
	if got := conn.confirm("a", 7); got["fromOffset"] != 6.0 || got["epoch"] != "e1" {
		t.Errorf("resumed with %v", got)
	}
	conn.message("a", 7)
	f.offsets(7)
	if offset, epoch, ok := s.Position(); offset != 7 || epoch != "e1" || !ok {
		t.Errorf("position %d, %q, %v", offset, epoch, ok)
	}
	if faults := s.Faults(); faults != (Faults{}) {
		t.Errorf("faults %+v", faults)
	}
}

func TestResumeBeforeTheFirstMessage(t *testing.T) {
	for name, test := range map[string]struct {
		from     Position
		head     int
		earliest int
		wantFrom any
		wantOff  any
	}{
		"live":                      {Live(), 8, 1, nil, 8.0},
		"live, nothing yet":         {Live(), 0, 1, nil, 0.0},
		"the last none":             {Last(0), 8, 1, nil, 8.0},
		"all":                       {All(), 8, 1, "all", nil},
		"left to the rule":          {Position{}, 8, 1, nil, nil},
		"left to the rule, nothing": {Position{}, 0, 1, nil, 0.0},
		"left to the rule, purged":  {Position{}, 8, 9, nil, 8.0},
		"after the head":            {After(8), 8, 1, nil, 8.0},
		"after nothing: all":        {After(0), 8, 1, "all", nil},
	} {
		t.Run(name, func(t *testing.T) {
			server, _, conn, f := followed(t, test.from)
			conn.expect("subscribe")
			conn.send(`{"type":"subscribed","channel":"a","offset":%d,"earliest":%d,"epoch":"e1","recovered":true}`, test.head,
				test.earliest)
			f.ready()
			conn.close(1013)
			got := server.welcome(t).confirm("a", 9)
			if got["from"] != test.wantFrom || got["fromOffset"] != test.wantOff {
				t.Errorf("resumed with %v", got)
			}
		})
	}
}

func TestNoOffsetIsDeliveredTwice(t *testing.T) {
	server, _, conn, f := followed(t, All())
	conn.confirm("a", 0)
	s := f.ready()
	for _, offset := range []int{1, 2, 2, 1, 3} {
		conn.message("a", offset)
	}
	f.offsets(1, 2, 3)
	conn.close(1013)
	conn = server.welcome(t)
	conn.confirm("a", 4)
	conn.message("a", 3)
	conn.message("a", 4)
	f.offsets(4)
	if faults := s.Faults(); faults != (Faults{Repeated: 3}) {
		t.Errorf("faults %+v", faults)
	}
}

func TestSkippedOffsetIsFetchedByResuming(t *testing.T) {
	server, _, conn, f := followed(t, All())
	conn.confirm("a", 0)
	s := f.ready()
	conn.message("a", 1)
	conn.message("a", 3)
	conn = server.welcome(t)
	if got := conn.confirm("a", 3); got["fromOffset"] != 1.0 {
		t.Errorf("resumed with %v", got)
	}
	conn.message("a", 2)
	conn.message("a", 3)
	f.offsets(1, 2, 3)
	if faults := s.Faults(); faults != (Faults{Skipped: 1}) {
		t.Errorf("faults %+v", faults)
	}
}

// Retention may overtake one who never had an offset, too.
func TestGapIsReported(t *testing.T) {
	for earliest, from := range map[int]Position{4: All(), 8: After(3)} {
		_, _, conn, f := followed(t, from)
		conn.expect("subscribe")
		conn.send(`{"type":"subscribed","channel":"a","offset":10,"earliest":%d,"epoch":"e1","recovered":false}`, earliest)
		conn.send(`{"type":"gap","channel":"a","from":4,"to":7}`)
		conn.message("a", 8)
		s := f.ready()
		if g := receive(t, f.gaps); g != (Gap{"a", 4, 7}) {
			t.Errorf("gap %+v", g)
		}
		f.offsets(8)
		if len(f.resets) > 0 || s.Faults() != (Faults{}) {
			t.Errorf("%d resets, faults %+v", len(f.resets), s.Faults())
		}
	}
}

func TestRenumberingIsReported(t *testing.T) {
	for name, answer := range map[string]string{
		"another epoch":             `{"type":"subscribed","channel":"a","offset":9,"epoch":"e2","recovered":false}`,
		"another epoch, head ahead": `{"type":"subscribed","channel":"a","offset":2,"epoch":"e2"}`,
		"offset above the head":     `{"type":"subscribed","channel":"a","offset":2,"epoch":"e1","recovered":false}`,
	} {
		t.Run(name, func(t *testing.T) {
			server, _, conn, f := followed(t, After(5))
			conn.confirm("a", 5)
			f.ready()
			conn.message("a", 6)
			f.offsets(6)
			conn.close(1012)

			conn = server.welcome(t)
			conn.expect("subscribe")
			conn.send("%s", answer)
			if r := receive(t, f.resets); r.Last != 6 || r.Channel != "a" {
				t.Errorf("reset %+v", r)
			}
			conn.message("a", 3)
			conn.message("a", 4)
			f.offsets(3, 4)
		})
	}
}

func TestMessagesThatAreNotLoggedPass(t *testing.T) {
	_, _, conn, f := followed(t, Live())
	conn.confirm("a", 0)
	f.ready()
	conn.message("a", 0)
	conn.message("a", 0)
	f.offsets(0, 0)
}

func TestRefusedSubscriptionEnds(t *testing.T) {
	_, c, conn, f := followed(t, Live())
	conn.expect("subscribe")
	conn.send(`{"type":"error","error":"not yours","code":"forbidden","channel":"a"}`)
	var refusal *Error
	if err := receive(t, f.confirmed); !errors.As(err, &refusal) || refusal.Code != CodeForbidden {
		t.Errorf("got %v", err)
	}
	// The name is free again, the connection untouched.
	f = follow(t, c, "a", Live())
	conn.confirm("a", 0)
	f.ready()
}

func TestPassinglyRefusedSubscriptionIsAskedAgain(t *testing.T) {
	_, _, conn, f := followed(t, Last(3))
	for _, code := range []string{"rate_limited", "unavailable"} {
		if got := conn.expect("subscribe"); got["from"].(map[string]any)["last"] != 3.0 {
			t.Errorf("subscribed with %v", got)
		}
		conn.send(`{"type":"error","error":"later","code":%q,"channel":"a","retryAfter":1}`, code)
	}
	conn.confirm("a", 0)
	f.ready()
}

func TestFramesOfAnEndedSubscriptionAreNotTheNextOnes(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	old := follow(t, c, "a", All())
	conn.confirm("a", 9)
	old.ready().Unsubscribe()
	conn.expect("unsubscribe")
	f := follow(t, c, "a", All())
	conn.expect("subscribe")
	// The server was in the middle of the old replay.
	conn.message("a", 5)
	conn.send(`{"type":"unsubscribed","channel":"a"}`)
	conn.message("a", 6)
	conn.send(`{"type":"subscribed","channel":"a","offset":9,"epoch":"e1","recovered":true}`)
	conn.message("a", 1)
	f.offsets(1)
	f.ready()
	if len(old.messages) > 0 {
		t.Error("a message went to the subscription that had ended")
	}
	if err := old.subscription.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("the old one ended with %v", err)
	}
}

func TestSubscribeGivesUpWithItsContext(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		conn.expect("subscribe")
		cancel()
	}()
	_, err := c.Subscribe(ctx, "a", SubscribeOptions{OnMessage: func(Message) {}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	conn.expect("unsubscribe")
}

func TestAllChannelsAreAskedForAgain(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	for _, channel := range []string{"a", "b", "c"} {
		f := follow(t, c, channel, Live())
		conn.confirm(channel, 1)
		f.ready()
	}
	conn.close(ws.StatusCode(1013))
	conn = server.welcome(t)
	asked := make(map[any]bool)
	for range 3 {
		asked[conn.expect("subscribe")["channel"]] = true
	}
	if len(asked) != 3 {
		t.Errorf("asked for %v", asked)
	}
}

func TestLateConfirmationIsNotTheNextOnes(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		conn.expect("subscribe")
		cancel()
	}()
	if _, err := c.Subscribe(ctx, "a", SubscribeOptions{From: All(), OnMessage: func(Message) {}}); err == nil {
		t.Fatal("confirmed by nobody")
	}
	conn.expect("unsubscribe")
	f := follow(t, c, "a", After(7))
	conn.expect("subscribe")
	conn.send(`{"type":"subscribed","channel":"a","offset":9,"epoch":"e1","recovered":true}`)
	conn.send(`{"type":"gap","channel":"a","from":1,"to":8}`)
	conn.message("a", 9)
	conn.send(`{"type":"unsubscribed","channel":"a"}`)
	conn.send(`{"type":"subscribed","channel":"a","offset":9,"epoch":"e1","recovered":true}`)
	conn.message("a", 8)
	conn.message("a", 9)
	f.offsets(8, 9)
	if faults := f.ready().Faults(); faults != (Faults{}) {
		t.Errorf("faults %+v", faults)
	}
}

package client

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestSeveralHandlersOfOneChannel(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	one := follow(t, c, "c", All())
	conn.confirm("c", 1)
	one.ready()
	conn.message("c", 1)
	one.offsets(1)
	two := follow(t, c, "c", Position{})
	two.ready() // nothing is asked of the server
	conn.message("c", 2)
	one.offsets(2)
	two.offsets(2)
	if _, err := c.Subscribe(t.Context(), "c",
		SubscribeOptions{From: All(), OnMessage: func(Message) {}}); !errors.Is(err, errLater) {
		t.Errorf("a further handler from elsewhere: %v", err)
	}
	one.subscription.Unsubscribe()
	conn.message("c", 3)
	two.offsets(3)
	if len(one.messages) > 0 {
		t.Error("a handler that has ended got a message")
	}
	if err := one.subscription.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
	two.subscription.Unsubscribe()
	conn.expect("unsubscribe")
}

func TestMessagesInALoop(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		conn.confirm("c", 200)
		for i := 1; i <= 200; i++ {
			conn.message("c", i)
		}
	})
	var got int
	for m, err := range c.Messages(t.Context(), "c", SubscribeOptions{From: All()}) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := Decode[struct{ N int }](m)
		if err != nil || data.N != got+1 {
			t.Fatalf("message %d has %+v, %v", m.Offset, data, err)
		}
		if _, err := Decode[string](m); err == nil {
			t.Fatal("an object was decoded as text")
		}
		if got++; got == 150 {
			break
		}
	}
	sending.Wait()
	conn.expect("unsubscribe")
	if got != 150 {
		t.Errorf("got %d messages", got)
	}
}

func TestMessagesEndWithTheReason(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	go func() {
		conn.expect("subscribe")
		conn.send(`{"type":"error","error":"no","code":"forbidden","channel":"c"}`)
	}()
	var last error
	for _, err := range c.Messages(t.Context(), "c", SubscribeOptions{}) {
		last = err
	}
	var refusal *Error
	if !errors.As(last, &refusal) || refusal.Code != CodeForbidden {
		t.Errorf("ended with %v", last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for m, err := range c.Messages(ctx, "d", SubscribeOptions{}) {
		t.Errorf("got %v, %v after the end", m, err)
	}
}

func TestLoadStateIsCalledAgainWhenWhatFollowsIsLost(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.accept(t)
	conn.expect("auth")
	conn.send(`{"type":"connected","connectionId":"c1","node":"n1","epoch":"e1","features":["strict"]}`)
	states := []uint64{3, 7}
	messages := make(chan Message, 10)
	subscribed := make(chan error, 1)
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := c.Subscribe(t.Context(), "c", SubscribeOptions{
			OnMessage: func(m Message) { messages <- m },
			LoadState: func(context.Context) (uint64, string, error) {
				offset := states[0]
				states = states[1:]
				return offset, "e1", nil
			},
		})
		subscribed <- err
	}()
	asked := conn.expect("subscribe")
	if asked["strict"] != true || asked["fromOffset"] != 3.0 || asked["epoch"] != "e1" {
		t.Errorf("asked for %v", asked)
	}
	conn.send(`{"type":"error","error":"gone","code":"unrecoverable","channel":"c","offset":7,"earliest":6,"epoch":"e1"}`)
	if asked := conn.confirm("c", 8); asked["fromOffset"] != 7.0 || asked["strict"] != true {
		t.Errorf("asked for %v", asked)
	}
	if err := receive(t, subscribed); err != nil {
		t.Fatal(err)
	}
	conn.message("c", 8)
	if m := receive(t, messages); m.Offset != 8 {
		t.Errorf("got offset %d", m.Offset)
	}
}

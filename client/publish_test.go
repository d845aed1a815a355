package client

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// outcome is what a publish ended with.
type outcome struct {
	receipt Receipt
	err     error
}

func publishTo(t *testing.T, ctx context.Context, c *Client, p Publication) <-chan outcome {
	t.Helper()
	result := make(chan outcome, 1)
	err := c.PublishAsync(ctx, p, func(r Receipt, err error) { result <- outcome{r, err} })
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func (c *fakeConn) stored(channel string, id any, offset int) {
	c.t.Helper()
	c.send(`{"type":"published","channel":%q,"offset":%d,"timestamp":77,"id":%q}`, channel, offset, id)
}

func TestPublishIsAcknowledged(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	result := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: map[string]string{"k": "<&>"}})
	frame := conn.expect("publish")
	if frame["channel"] != "a" || frame["message"].(map[string]any)["k"] != "<&>" {
		t.Errorf("published %v", frame)
	}
	id, _ := frame["id"].(string)
	if len(id) < 16 {
		t.Errorf("the id %q is too short to be unique", id)
	}
	conn.stored("a", id, 42)
	got := receive(t, result)
	if want := (Receipt{Offset: 42, Timestamp: 77, ID: id, Attempts: 1}); got.err != nil || got.receipt != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	next := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: nil})
	if again := conn.expect("publish"); again["id"] == id {
		t.Error("two publishes have one id")
	} else {
		conn.stored("a", again["id"], 43)
	}
	receive(t, next)
}

func TestPublishIsRepeatedOverTheNextConnection(t *testing.T) {
	first, second := startFake(t), startFake(t)
	c := connectTo(t, quick, first.URL, second.URL)
	conn := first.welcome(t)
	var results []<-chan outcome
	for i := range 20 {
		results = append(results, publishTo(t, t.Context(), c, Publication{Channel: "a", Data: i}))
	}
	var ids []any
	for range 20 {
		ids = append(ids, conn.expect("publish")["id"])
	}
	conn.stored("a", ids[0], 1)
	receive(t, results[0])
	conn.close(1012)

	conn = second.welcome(t)
	for i := 1; i < 20; i++ {
		frame := conn.expect("publish")
		if frame["id"] != ids[i] || frame["message"] != float64(i) {
			t.Fatalf("repeat %d is %v, want the id %v", i, frame, ids[i])
		}
	}
	conn.send(`{"type":"published","channel":"a","offset":2,"timestamp":77,"id":%q,"duplicate":true}`, ids[1])
	got := receive(t, results[1])
	if want := (Receipt{Offset: 2, Timestamp: 77, ID: ids[1].(string), Duplicate: true, Attempts: 2}); got.err != nil ||
		got.receipt != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPublishWaitsForAConnection(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, "127.0.0.1:1", server.URL)
	result := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1, ID: "mine"})
	conn := server.welcome(t)
	if frame := conn.expect("publish"); frame["id"] != "mine" {
		t.Errorf("published %v", frame)
	}
	conn.stored("a", "mine", 1)
	if got := receive(t, result); got.err != nil || got.receipt.Attempts != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestPassinglyRefusedPublishIsRepeated(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	result := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1})
	var id any
	for _, code := range []Code{CodeRateLimited, CodeUnavailable, CodeOutcomeUnknown} {
		frame := conn.expect("publish")
		if id == nil {
			id = frame["id"]
		}
		if frame["id"] != id {
			t.Errorf("repeated as %v, want %v", frame["id"], id)
		}
		conn.send(`{"type":"error","error":"later","code":%q,"channel":"a","id":%q,"retryAfter":1}`, code, id)
	}
	conn.expect("publish")
	conn.stored("a", id, 1)
	if got := receive(t, result); got.err != nil || got.receipt.Attempts != 4 {
		t.Errorf("got %+v", got)
	}
}

func TestRetryAfterIsRespected(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1, ID: "1"})
	conn.expect("publish")
	refused := time.Now()
	conn.send(`{"type":"error","error":"later","code":"rate_limited","channel":"a","id":"1","retryAfter":100}`)
	conn.expect("publish")
	if waited := time.Since(refused); waited < 100*time.Millisecond {
		t.Errorf("repeated after %v", waited)
	}
}

func TestRefusedPublishFails(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	for _, code := range []Code{CodeForbidden, CodeInvalidChannel, CodeInternal} {
		result := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1, ID: "1"})
		conn.expect("publish")
		conn.send(`{"type":"error","error":"no","code":%q,"channel":"a","id":"1"}`, code)
		got := receive(t, result)
		var refusal *Error
		if !errors.As(got.err, &refusal) || refusal.Code != code {
			t.Errorf("%s: got %v", code, got.err)
		}
		if unknown := errors.Is(got.err, ErrUnknown); unknown != (code == CodeInternal) {
			t.Errorf("%s: unknown is %v", code, unknown)
		}
	}
}

func TestRefusalOfARepeatLeavesTheOutcomeUnknown(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	result := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1, ID: "1"})
	conn.expect("publish")
	conn.close(1012)
	conn = server.welcome(t)
	conn.expect("publish")
	conn.send(`{"type":"error","error":"no","code":"forbidden","channel":"a","id":"1"}`)
	got := receive(t, result)
	var refusal *Error
	if !errors.As(got.err, &refusal) || !errors.Is(got.err, ErrUnknown) {
		t.Errorf("got %v", got.err)
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, "127.0.0.1:1", server.URL)
	ctx, cancel := context.WithCancel(context.Background())
	neverSent := publishTo(t, ctx, c, Publication{Channel: "a", Data: 1})
	cancel()
	got := receive(t, neverSent)
	if !errors.Is(got.err, context.Canceled) || errors.Is(got.err, ErrUnknown) {
		t.Errorf("never sent: got %v", got.err)
	}
	conn := server.welcome(t)
	ctx, cancel = context.WithCancel(context.Background())
	sent := publishTo(t, ctx, c, Publication{Channel: "a", Data: 1, ID: "1"})
	conn.expect("publish")
	cancel()
	got = receive(t, sent)
	if !errors.Is(got.err, context.Canceled) || !errors.Is(got.err, ErrUnknown) || got.receipt.ID != "1" {
		t.Errorf("sent: got %+v", got)
	}
	conn.stored("a", "1", 1) // too late, and harmless
	if err := c.PublishAsync(ctx, Publication{Channel: "a", Data: 1}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: got %v", err)
	}
}

func TestUnknownOutcomeIsNotRepeatedForEver(t *testing.T) {
	timing := quick
	timing.repeat = 0
	server := startFake(t)
	c := connectTo(t, timing, server.URL)
	conn := server.welcome(t)
	result := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1})
	conn.expect("publish")
	conn.close(1012)
	server.welcome(t)
	if got := receive(t, result); !errors.Is(got.err, ErrUnknown) {
		t.Errorf("got %v", got.err)
	}
}

func TestPublishesUnderWayAreBounded(t *testing.T) {
	server := startFake(t)
	c, err := newClient(Options{Endpoints: []string{server.URL}, APIKey: "sk_test", MaxInFlight: 2}, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := server.welcome(t)
	first := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1, ID: "1"})
	publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1, ID: "2"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.PublishAsync(ctx, Publication{Channel: "a", Data: 1}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a third one: got %v", err)
	}
	conn.expect("publish")
	conn.stored("a", "1", 1)
	receive(t, first)
	publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1, ID: "3"})
}

func TestWhatCannotBePublishedIsNotSent(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	publishTo(t, t.Context(), c, Publication{Channel: "a", Data: 1, ID: "1"})
	for name, p := range map[string]Publication{
		"not JSON":       {Channel: "a", Data: json.RawMessage(`{"x"`)},
		"two values":     {Channel: "a", Data: json.RawMessage(`1 2`)},
		"no value":       {Channel: "a", Data: json.RawMessage(nil)},
		"a function":     {Channel: "a", Data: func() {}},
		"not UTF-8":      {Channel: "a\xff", Data: 1},
		"too large":      {Channel: "a", Data: strings.Repeat("x", 1001)},
		"id in use":      {Channel: "a", Data: 1, ID: "1"},
		"id not UTF-8":   {Channel: "a", Data: 1, ID: "\xff"},
		"unclosed array": {Channel: "a", Data: json.RawMessage(`[1,`)},
	} {
		if r, err := c.Publish(t.Context(), p); err == nil {
			t.Errorf("%s: got %+v", name, r)
		}
	}
	conn.expect("publish")
	result := publishTo(t, t.Context(), c, Publication{Channel: "a", Data: json.RawMessage(` {"as": "it is"} `), ID: "2"})
	if frame := conn.expect("publish"); frame["id"] != "2" {
		t.Errorf("published %v", frame)
	}
	conn.stored("a", "2", 1)
	receive(t, result)
}

func TestCloseSettlesPublishes(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	result := publishTo(t, context.Background(), c, Publication{Channel: "a", Data: 1})
	conn.expect("publish")
	c.Close()
	if got := receive(t, result); !errors.Is(got.err, ErrClosed) || !errors.Is(got.err, ErrUnknown) {
		t.Errorf("got %v", got.err)
	}
	if _, err := c.Publish(context.Background(), Publication{Channel: "a", Data: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: got %v", err)
	}
}

func TestDataKeepsItsBytes(t *testing.T) {
	for want, data := range map[string]any{
		`{"html":"<b>&"}`:        map[string]string{"html": "<b>&"},
		` {"raw" : "<\u0041>"} `: json.RawMessage(` {"raw" : "<\u0041>"} `),
		`null`:                   nil,
	} {
		got, err := Publication{Data: data}.payload()
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
}

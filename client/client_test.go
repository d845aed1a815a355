package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestConnectAuthenticates(t *testing.T) {
	server := startFake(t)
	sessions := make(chan Session, 1)
	c, err := New(Options{
		Endpoints: []string{server.URL},
		APIKey:    "pk_test",
		Origin:    "https://app.example.com",
		OnConnect: func(s Session) { sessions <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := server.accept(t)
	if origin := conn.header.Get("Origin"); origin != "https://app.example.com" {
		t.Errorf("Origin is %q", origin)
	}
	auth := conn.expect("auth")
	if auth["apiKey"] != "pk_test" {
		t.Errorf("auth with key %v", auth["apiKey"])
	}
	if _, isNumber := auth["timestamp"].(float64); !isNumber {
		t.Errorf("auth with timestamp %v", auth["timestamp"])
	}
	conn.send(`{"type":"auth_success"}`)
	if _, ok := c.Session(); ok {
		t.Error("connected before the server said so")
	}
	conn.send(`{"type":"connected","connectionId":"c7","node":"n2","features":["x"],"epoch":"e1",` +
		`"maxMessageBytes":65536,"heartbeatMs":25000}`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	want := Session{
		Endpoint:        strings.Replace(server.URL, "http", "ws", 1) + "/realtime",
		Node:            "n2",
		ConnectionID:    "c7",
		Epoch:           "e1",
		MaxMessageBytes: 65536,
	}
	if got := receive(t, sessions); got != want {
		t.Errorf("session %+v, want %+v", got, want)
	}
}

func TestFinalRefusalEndsTheClient(t *testing.T) {
	server := startFake(t)
	c := connectTo(t, quick, server.URL)
	conn := server.accept(t)
	conn.expect("auth")
	conn.send(`{"type":"error","error":"no such key","code":"invalid_key"}`)
	conn.close(ws.StatusNormalClosure)

	err := c.Connect(context.Background())
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeInvalidKey || refusal.Reason != "no such key" {
		t.Fatalf("got %v, want the server's refusal", err)
	}
	if n := server.count.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestPassingRefusalIsTriedAgain(t *testing.T) {
	for _, code := range []ws.StatusCode{1001, 1008, 1009, 1012, 1013, 4008} {
		server := startFake(t)
		c := connectTo(t, quick, server.URL)
		conn := server.accept(t)
		conn.expect("auth")
		conn.close(code)
		server.welcome(t)
		if err := c.Connect(context.Background()); err != nil {
			t.Errorf("after close %d: %v", code, err)
		}
	}
}

func TestRevokedKeyEndsEverything(t *testing.T) {
	_, c, conn, f := followed(t, Live())
	conn.confirm("a", 0)
	s := f.ready()
	published := make(chan error, 1)
	err := c.PublishAsync(context.Background(), Publication{Channel: "a", Data: 1},
		func(_ Receipt, err error) { published <- err })
	if err != nil {
		t.Fatal(err)
	}
	conn.expect("publish")
	conn.send(`{"type":"error","error":"this key has ended","code":"key_revoked"}`)
	conn.close(ws.StatusNormalClosure)

	receive(t, s.Done())
	var refusal *Error
	if !errors.As(s.Err(), &refusal) || refusal.Code != CodeKeyRevoked {
		t.Errorf("the subscription ended with %v", s.Err())
	}
	err = receive(t, published)
	if !errors.As(err, &refusal) || refusal.Code != CodeKeyRevoked || !errors.Is(err, ErrUnknown) {
		t.Errorf("the publish ended with %v", err)
	}
	receive(t, c.Done())
	if _, err := c.Subscribe(context.Background(), "b", SubscribeOptions{OnMessage: func(Message) {}}); !errors.As(err,
		&refusal) {
		t.Errorf("a late subscribe ended with %v", err)
	}
}

func TestNextEndpointIsTried(t *testing.T) {
	first, second := startFake(t), startFake(t)
	c := connectTo(t, quick, "127.0.0.1:1", first.URL, second.URL)
	first.welcome(t).close(1012)
	second.welcome(t)
	if err := c.Connect(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestHeartbeatIsNeverAnswered(t *testing.T) {
	server := startFake(t)
	connectTo(t, quick, server.URL)
	conn := server.welcome(t)
	for range 50 {
		conn.send(`{"type":"heartbeat"}`)
	}
	// The answer to the ping is the first thing that may come back.
	if err := ws.WriteFrame(conn.socket, ws.NewPingFrame([]byte("there?"))); err != nil {
		t.Fatal(err)
	}
	f, err := ws.ReadFrame(conn.socket)
	if err != nil {
		t.Fatal(err)
	}
	f = ws.UnmaskFrame(f)
	if f.Header.OpCode != ws.OpPong || string(f.Payload) != "there?" {
		t.Errorf("got opcode %#x with %q, want the pong", f.Header.OpCode, f.Payload)
	}
}

func TestHeartbeatIsSentUnasked(t *testing.T) {
	timing := quick
	timing.heartbeat = 10 * time.Millisecond
	server := startFake(t)
	connectTo(t, timing, server.URL)
	conn := server.welcome(t)
	for range 3 {
		conn.expect("heartbeat")
	}
}

func TestSilentServerIsLeft(t *testing.T) {
	timing := quick
	timing.silence = 50 * time.Millisecond
	server := startFake(t)
	lost := make(chan error, 1)
	c, err := newClient(Options{
		Endpoints:    []string{server.URL},
		APIKey:       "sk_test",
		OnDisconnect: func(err error) { lost <- err },
	}, timing)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server.welcome(t)
	if err := receive(t, lost); !strings.Contains(err.Error(), "silent") {
		t.Errorf("left with %v", err)
	}
	server.accept(t)
}

func TestSilentHandshakeIsLeft(t *testing.T) {
	timing := quick
	timing.handshake = 50 * time.Millisecond
	server := startFake(t)
	connectTo(t, timing, server.URL)
	server.accept(t)
	server.accept(t)
}

func TestCloseSaysGoodbye(t *testing.T) {
	timing := quick
	timing.farewell = patience
	server := startFake(t)
	c := connectTo(t, timing, server.URL)
	conn := server.welcome(t)
	if err := c.Connect(context.Background()); err != nil {
		t.Fatal(err)
	}
	frames, answered := make(chan ws.Frame, 1), make(chan error, 1)
	go func() {
		f, err := ws.ReadFrame(conn.socket)
		if err == nil {
			frames <- ws.UnmaskFrame(f)
			err = ws.WriteFrame(conn.socket, ws.NewCloseFrame(nil))
		}
		answered <- err
	}()
	c.Close()
	if err := receive(t, answered); err != nil {
		t.Fatal(err)
	}
	f := receive(t, frames)
	if code, _ := ws.ParseCloseFrameData(f.Payload); f.Header.OpCode != ws.OpClose || code != ws.StatusNormalClosure {
		t.Errorf("got opcode %#x with code %d", f.Header.OpCode, code)
	}
	if err := c.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	c.Close()
}

func TestKeyIsNotLogged(t *testing.T) {
	var log bytes.Buffer
	server := startFake(t)
	c, err := newClient(Options{
		Endpoints: []string{"127.0.0.1:1", server.URL},
		APIKey:    "sk_verysecret",
		Logger:    slog.New(slog.NewTextHandler(&log, nil)),
	}, quick)
	if err != nil {
		t.Fatal(err)
	}
	server.welcome(t)
	c.Close()
	if log.Len() == 0 || strings.Contains(log.String(), "verysecret") {
		t.Errorf("logged: %s", log.String())
	}
}

func TestMessageMayComeInFragments(t *testing.T) {
	_, _, conn, f := followed(t, Live())
	conn.confirm("a", 0)
	f.ready()
	text := []byte(`{"type":"message","channel":"a","data":"in three parts","offset":1,"timestamp":5}`)
	for _, part := range []ws.Frame{
		ws.NewFrame(ws.OpText, false, text[:10]),
		ws.NewPingFrame(nil),
		ws.NewFrame(ws.OpContinuation, false, text[10:50]),
		ws.NewFrame(ws.OpContinuation, true, text[50:]),
	} {
		if err := ws.WriteFrame(conn.socket, part); err != nil {
			t.Fatal(err)
		}
	}
	if m := receive(t, f.messages); string(m.Data) != `"in three parts"` {
		t.Errorf("got %s", m.Data)
	}
}

func TestFrameBehindTheHandshakeIsKept(t *testing.T) {
	// The reader must see bytes that arrived together with the HTTP answer.
	payload := []byte(`{"type":"connected"}`)
	var wire bytes.Buffer
	if err := ws.WriteFrame(&wire, ws.NewTextFrame(payload)); err != nil {
		t.Fatal(err)
	}
	address := serveOnce(t, wire.Bytes())
	conn, err := dial(t.Context(), "ws://"+address, &Options{}, &quick)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	got, err := conn.next()
	if err != nil || !bytes.Equal(got, payload) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := conn.next(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v, want EOF", err)
	}
}

package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// quick keeps everything periodic out of the way and retries at once.
var quick = timing{
	heartbeat: time.Hour,
	silence:   time.Hour,
	handshake: patience,
	write:     patience,
	farewell:  20 * time.Millisecond,
	stable:    time.Hour,
	backoff:   backoff{base: time.Millisecond, limit: 5 * time.Millisecond},
	repeat:    time.Hour,
}

// fake is a server that does nothing by itself: tests take its connections and
// play the server's part frame by frame.
type fake struct {
	URL   string
	conns chan *fakeConn
	count atomic.Int64 // connections so far
}

type fakeConn struct {
	t      *testing.T
	socket net.Conn
	header http.Header
}

func startFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{conns: make(chan *fakeConn, 64)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		t.Cleanup(func() { socket.Close() })
		f.count.Add(1)
		f.conns <- &fakeConn{t: t, socket: socket, header: r.Header}
	}))
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

// accept returns the next connection as it is.
func (f *fake) accept(t *testing.T) *fakeConn {
	t.Helper()
	select {
	case c := <-f.conns:
		return c
	case <-time.After(patience):
		t.Fatal("the client did not connect")
		return nil
	}
}

// welcome accepts the next connection and authenticates it.
func (f *fake) welcome(t *testing.T) *fakeConn {
	t.Helper()
	c := f.accept(t)
	c.expect("auth")
	c.send(`{"type":"auth_success"}`)
	c.send(`{"type":"connected","connectionId":"c1","node":"n1","epoch":"e1","maxMessageBytes":1000}`)
	return c
}

// expect reads the client's next frame, which must have the type.
func (c *fakeConn) expect(frameType string) map[string]any {
	c.t.Helper()
	if err := c.socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	text, err := wsutil.ReadClientText(c.socket)
	if err != nil {
		c.t.Fatalf("waiting for a frame of type %s: %v", frameType, err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		c.t.Fatalf("the client sent %q: %v", text, err)
	}
	if got["type"] != frameType {
		c.t.Fatalf("the client sent %s, want a frame of type %s", text, frameType)
	}
	return got
}

func (c *fakeConn) send(format string, args ...any) {
	c.t.Helper()
	if err := wsutil.WriteServerText(c.socket, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *fakeConn) message(channel string, offset int) {
	c.t.Helper()
	c.send(`{"type":"message","channel":%q,"data":{"n":%d},"offset":%d,"timestamp":%d,"replay":false}`,
		channel, offset, offset, 1000+offset)
}

// confirm answers a subscribe whose channel is at head.
func (c *fakeConn) confirm(channel string, head int) map[string]any {
	c.t.Helper()
	got := c.expect("subscribe")
	if got["channel"] != channel {
		c.t.Fatalf("subscribe to %v, want %s", got["channel"], channel)
	}
	c.send(`{"type":"subscribed","channel":%q,"offset":%d,"epoch":"e1","recovered":true}`, channel, head)
	return got
}

func (c *fakeConn) close(code ws.StatusCode) {
	c.t.Helper()
	frame := ws.NewCloseFrame(ws.NewCloseFrameBody(code, "bye"))
	if err := ws.WriteFrame(c.socket, frame); err != nil {
		c.t.Fatalf("send close: %v", err)
	}
	c.socket.Close()
}

func connectTo(t *testing.T, timing timing, endpoints ...string) *Client {
	t.Helper()
	c, err := newClient(Options{Endpoints: endpoints, APIKey: "sk_test"}, timing)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// followed has a client follow channel "a" of a broker, both new.
func followed(t *testing.T, from Position) (server *fake, c *Client, conn *fakeConn, f *following) {
	t.Helper()
	server = startFake(t)
	c = connectTo(t, quick, server.URL)
	conn = server.welcome(t)
	return server, c, conn, follow(t, c, "a", from)
}

// follow subscribes without waiting for the confirmation, which the test itself
// must give, and returns what arrives.
type following struct {
	t            *testing.T
	messages     chan Message
	gaps         chan Gap
	resets       chan Reset
	confirmed    chan error
	subscription *Subscription // valid after a receive from confirmed
}

func follow(t *testing.T, c *Client, channel string, from Position) *following {
	f := &following{
		t:         t,
		messages:  make(chan Message, 100),
		gaps:      make(chan Gap, 100),
		resets:    make(chan Reset, 100),
		confirmed: make(chan error, 1),
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var err error
		f.subscription, err = c.Subscribe(ctx, channel, SubscribeOptions{
			From:      from,
			OnMessage: func(m Message) { f.messages <- m },
			OnGap:     func(g Gap) { f.gaps <- g },
			OnReset:   func(r Reset) { f.resets <- r },
		})
		f.confirmed <- err
	}()
	return f
}

func (f *following) ready() *Subscription {
	f.t.Helper()
	if err := receive(f.t, f.confirmed); err != nil {
		f.t.Fatal(err)
	}
	return f.subscription
}

// offsets reads messages until it has the wanted offsets, which must come in
// this order.
func (f *following) offsets(want ...uint64) {
	f.t.Helper()
	for _, w := range want {
		if m := receive(f.t, f.messages); m.Offset != w {
			f.t.Fatalf("got offset %d, want %d", m.Offset, w)
		}
	}
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

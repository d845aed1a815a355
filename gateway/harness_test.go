package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const (
	testProject = "prj-test"
	testOrigin  = "https://app.example.com"
	patience    = 10 * time.Second // how long a test waits for what must happen
)

// onEachPoller runs a test once for every way of watching sockets.
func onEachPoller(t *testing.T, test func(t *testing.T, poller string)) {
	for _, name := range poll.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, name)
		})
	}
}

// harness is a served gateway over a fakeBroker.
type harness struct {
	t      testing.TB
	broker *fakeBroker
	server *Server
	addr   string
	dialer net.Dialer // of clients
	public string     // key texts of testProject
	secret string
}

func newHarness(t testing.TB, poller string, adjust ...func(*Config)) *harness {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newFakeBroker()
	b.projects[testProject] = &fsm.Project{ID: testProject, Name: "test", AllowedOrigins: []string{testOrigin}}
	cfg := Config{
		Listener: listener,
		Broker:   b,
		Fatal:    func(err error) { t.Errorf("fatal: %v", err) },
		Logger:   slog.New(slog.DiscardHandler),
		Poller:   poller,
		Loops:    2,
		Registry: prometheus.NewRegistry(),
		Limits:   Limits{DrainLinger: time.Nanosecond},
	}
	for _, a := range adjust {
		a(&cfg)
	}
	server, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.observer = server
	h := &harness{t: t, broker: b, server: server, addr: listener.Addr().String()}
	h.public = b.addKey(testProject, fsm.PublicKey)
	h.secret = b.addKey(testProject, fsm.ServerKey)
	server.Open()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		b.close()
	})
	return h
}

// metric returns the value of a counter with these labels, in the order of
// their names.
func (h *harness) metric(name string, labels ...string) (value float64) {
	h.t.Helper()
	families, err := h.server.cfg.Registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			same := len(m.GetLabel()) == len(labels)
			for i := range min(len(labels), len(m.GetLabel())) {
				same = same && m.GetLabel()[i].GetValue() == labels[i]
			}
			if same {
				value = m.GetCounter().GetValue()
			}
		}
	}
	return value
}

// untilPaused waits until accepting has paused for a reason.
func (h *harness) untilPaused(reason string) {
	h.t.Helper()
	eventually(h.t, func() string {
		if h.metric("aptlyd_accept_pauses_total", reason) == 0 {
			return "accepting does not pause for " + reason
		}
		return ""
	})
}

func (h *harness) channel(name string) fsm.ChannelKey {
	return fsm.ChannelKey{Project: testProject, Name: name}
}

// fill commits n messages {"n":1}, {"n":2} … to a channel.
func (h *harness) fill(channel string, n int) {
	data := make([]string, n)
	for i := range data {
		data[i] = fmt.Sprintf(`{"n":%d}`, i+1)
	}
	h.broker.append(h.channel(channel), data...)
}

// client is a WebSocket client that does what it is told and nothing else.
type client struct {
	t      testing.TB
	socket net.Conn
	in     *bufio.Reader
}

// frame is a server frame; only what a test asks for need be there.
type frame struct {
	Type       string          `json:"type"`
	Channel    *string         `json:"channel"`
	Data       json.RawMessage `json:"data"`
	Offset     json.RawMessage `json:"offset"`
	Timestamp  json.RawMessage `json:"timestamp"`
	Replay     *bool           `json:"replay"`
	Earliest   uint64          `json:"earliest"`
	Epoch      string          `json:"epoch"`
	Recovered  *bool           `json:"recovered"`
	From       uint64          `json:"from"`
	To         uint64          `json:"to"`
	Error      string          `json:"error"`
	Code       refusal.Code    `json:"code"`
	ID         string          `json:"id"`
	Duplicate  bool            `json:"duplicate"`
	RetryAfter int64           `json:"retryAfter"`

	raw   string
	close closeCode // set when it was a close frame instead
	eof   bool      // or the end
}

func (f frame) String() string {
	switch {
	case f.eof:
		return "end of connection"
	case f.close != 0:
		return fmt.Sprintf("close %d", f.close)
	}
	return f.raw
}

func (f frame) offset() uint64 {
	var n uint64
	_ = json.Unmarshal(f.Offset, &n)
	return n
}

const upgradeHead = "GET /realtime HTTP/1.1\r\nHost: broker.example.com\r\nUpgrade: websocket\r\n" +
	"Connection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

// dial upgrades a connection; header lines end in \r\n.
func (h *harness) dial(header string) *client {
	h.t.Helper()
	c := h.connect()
	c.send(upgradeHead + header + "\r\n")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		h.t.Fatalf("handshake: %v, %v", res, err)
	}
	if got := res.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		h.t.Fatalf("Sec-WebSocket-Accept is %q", got)
	}
	return c
}

func (h *harness) connect() *client {
	h.t.Helper()
	socket, err := h.dialer.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = socket.Close() })
	if err := socket.SetDeadline(time.Now().Add(3 * patience)); err != nil {
		h.t.Fatal(err)
	}
	return &client{h.t, socket, bufio.NewReaderSize(socket, 64<<10)}
}

// open connects and authenticates with a key, from the allowed origin.
func (h *harness) open(key string) *client {
	h.t.Helper()
	c := h.dial("Origin: " + testOrigin + "\r\n")
	c.text(`{"type":"auth","apiKey":"%s","timestamp":1}`, key)
	c.want("auth_success")
	c.want("connected")
	return c
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.socket, raw); err != nil {
		c.t.Fatal(err)
	}
}

// clientFrame is a masked frame.
func clientFrame(op ws.OpCode, fin bool, payload []byte) []byte {
	f := ws.MaskFrameWith(ws.NewFrame(op, fin, payload), [4]byte{1, 2, 3, 4})
	return ws.MustCompileFrame(f)
}

func (c *client) text(format string, args ...any) {
	c.t.Helper()
	c.send(string(clientFrame(ws.OpText, true, fmt.Appendf(nil, format, args...))))
}

// next returns the server's next frame; pings are answered and passed over.
func (c *client) next() frame {
	c.t.Helper()
	for {
		head, err := ws.ReadHeader(c.in)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "reset") {
				return frame{eof: true}
			}
			c.t.Fatalf("read frame: %v", err)
		}
		payload := make([]byte, head.Length)
		if _, err := io.ReadFull(c.in, payload); err != nil {
			return frame{eof: true}
		}
		switch head.OpCode {
		case ws.OpPing:
			c.send(string(clientFrame(ws.OpPong, true, payload)))
		case ws.OpPong:
			return frame{Type: "pong", raw: string(payload)}
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			return frame{close: code, raw: reason}
		default:
			f := frame{raw: string(payload)}
			if err := json.Unmarshal(payload, &f); err != nil {
				c.t.Fatalf("frame %q: %v", payload, err)
			}
			return f
		}
	}
}

func (c *client) want(kind string) frame {
	c.t.Helper()
	f := c.next()
	if f.Type != kind {
		c.t.Fatalf("got %s, want a frame of type %s", f, kind)
	}
	return f
}

// wantError expects a refusal.
func (c *client) wantError(code refusal.Code) frame {
	c.t.Helper()
	f := c.next()
	if f.Code != code || f.Error == "" {
		c.t.Fatalf("got %s, want an error %s", f, code)
	}
	return f
}

// wantClose expects a close frame, answers it, and expects the end.
func (c *client) wantClose(code closeCode) {
	c.t.Helper()
	if f := c.next(); f.close != code {
		c.t.Fatalf("got %s, want close %d", f, code)
	}
	// The server may have hung up already.
	_, _ = c.socket.Write(clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(code, "")))
	if f := c.next(); !f.eof {
		c.t.Fatalf("got %s after the close", f)
	}
}

// wantMessages expects the messages from first to last of a channel, in order.
func (c *client) wantMessages(channel string, first, last uint64, replay bool) {
	c.t.Helper()
	for offset := first; offset <= last; offset++ {
		f := c.want("message")
		if f.Channel == nil || *f.Channel != channel || f.offset() != offset || f.Replay == nil || *f.Replay != replay {
			c.t.Fatalf("got %s, want offset %d of %s, replay %v", f, offset, channel, replay)
		}
	}
}

// wantSilence checks that nothing was sent before the answer to a ping.
func (c *client) wantSilence() {
	c.t.Helper()
	c.send(string(clientFrame(ws.OpPing, true, []byte("silence?"))))
	if f := c.next(); f.Type != "pong" {
		c.t.Fatalf("got %s, want nothing", f)
	}
}

func (c *client) subscribe(channel, more string) frame {
	c.t.Helper()
	c.text(`{"type":"subscribe","channel":%q%s}`, channel, more)
	return c.want("subscribed")
}

// eventually waits until check returns nothing, or fails with its last reason.
func eventually(t testing.TB, check func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		reason := check()
		if reason == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(reason)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// do makes an HTTP request and returns the status and the decoded body.
func (h *harness) do(method, path, body string, header ...string) (*http.Response, map[string]any) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+h.addr+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	var decoded map[string]any
	_ = json.Unmarshal(raw, &decoded) // not every answer is JSON
	return res, decoded
}

func prefix(cidr string) netip.Prefix { return netip.MustParsePrefix(cidr) }

// noPendingConns waits until no socket is left that is not a connection.
func (h *harness) noPendingConns() {
	h.t.Helper()
	eventually(h.t, func() string {
		if n := h.server.pendingConns.Load(); n != 0 {
			return fmt.Sprintf("%d pending sockets", n)
		}
		n := h.server.handshakes
		n.Mu.Lock()
		defer n.Mu.Unlock()
		if n.Total != 0 || len(n.ByAddress) != 0 {
			return fmt.Sprintf("%d handshakes of %d addresses", n.Total, len(n.ByAddress))
		}
		return ""
	})
}

package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Each hostile client gets its answer while a good one beside it is undisturbed.
func TestHostileHandshakes(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.HandshakeTimeout = 200 * time.Millisecond })
		good := h.neighbour()
		for name, c := range map[string]struct {
			request string
			status  int
		}{
			"two origins":     {upgradeHead + "Origin: https://a.example\r\nOrigin: https://b.example\r\n\r\n", 400},
			"two hosts":       {upgradeHead + "Host: b.example\r\n\r\n", 400},
			"two keys":        {upgradeHead + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 400},
			"two versions":    {upgradeHead + "Sec-WebSocket-Version: 13\r\n\r\n", 400},
			"no key":          {strings.Replace(upgradeHead, "Sec-WebSocket-Key", "X-Key", 1) + "\r\n", 400},
			"short key":       {strings.Replace(upgradeHead, "dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 1) + "\r\n", 400},
			"old version":     {strings.Replace(upgradeHead, ": 13", ": 8", 1) + "\r\n", 426},
			"post":            {strings.Replace(upgradeHead, "GET", "POST", 1) + "\r\n", 400},
			"with a body":     {upgradeHead + "Content-Length: 5\r\n\r\nhello", 400},
			"space before :":  {upgradeHead + "Origin : https://a.example\r\n\r\n", 400},
			"folded header":   {upgradeHead + "X-A: b\r\n c\r\n\r\n", 400},
			"no upgrade":      {"GET /realtime HTTP/1.1\r\nHost: x\r\n\r\n", 405},
			"huge header":     {upgradeHead + "X-A: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431},
			"not HTTP at all": {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		} {
			bad := h.connect()
			bad.send(c.request)
			res, err := http.ReadResponse(bad.in, nil)
			if err != nil || res.StatusCode != c.status {
				t.Errorf("%s: got %v, %v, want %d", name, res, err, c.status)
			}
			good.wantUndisturbed()
		}

		// A header line without end is refused, and cut off long before it fills
		// the memory.
		endless := h.connect()
		endless.send(upgradeHead + "X-A: " + strings.Repeat("x", 24<<10))
		if res, err := http.ReadResponse(endless.in, nil); err != nil || res.StatusCode != 431 {
			t.Errorf("an endless header: got %v, %v", res, err)
		}
		sent, chunk := 0, bytes.Repeat([]byte("x"), 64<<10)
		for ; sent < 200<<20; sent += len(chunk) {
			if _, err := endless.socket.Write(chunk); err != nil {
				break
			}
		}
		if sent >= 16<<20 { // what the kernel holds and is dropped
			t.Errorf("took %d bytes of a header", sent)
		}

		// One that drips is cut off in time, without an answer.
		drip := h.connect()
		drip.drip("GET /realtime HTTP/1.1\r\nHost: ", "x")
		if answer, _ := io.ReadAll(drip.in); len(answer) > 0 {
			t.Errorf("a dripping handshake is answered: %q", answer)
		}
		good.wantUndisturbed()
	})
}

// drip sends first, and then a little again and again until the server has had
// enough.
func (c *client) drip(first, again string) {
	c.send(first)
	go func() {
		for {
			if _, err := io.WriteString(c.socket, again); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond) // the pace of a hostile client
		}
	}()
}

// neighbour is a client that must not notice what others do.
type neighbour struct {
	*client
	h    *harness
	seen uint64
}

func (h *harness) neighbour() *neighbour {
	n := &neighbour{client: h.open(h.public), h: h}
	n.subscribe("c", "")
	return n
}

// wantUndisturbed expects that the neighbour gets what is published now.
func (n *neighbour) wantUndisturbed() {
	n.t.Helper()
	n.h.fill("c", 1)
	n.seen++
	n.wantMessages("c", n.seen, n.seen, false)
}

func TestHostileFrames(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.FrameTimeout, c.CloseGrace = 150*time.Millisecond, 50*time.Millisecond
		})
		good := h.neighbour()
		text := func(fin bool, p string) string { return string(clientFrame(ws.OpText, fin, []byte(p))) }
		for name, c := range map[string]struct {
			bytes string
			code  closeCode
		}{
			"unmasked":              {string(ws.MustCompileFrame(ws.NewTextFrame([]byte("hi")))), 1002},
			"reserved bits":         {"\xf1\x80\x00\x00\x00\x00", 1002},
			"binary":                {string(clientFrame(ws.OpBinary, true, []byte("x"))), 1003},
			"bad UTF-8 split":       {text(false, "\xe2\x82") + string(clientFrame(ws.OpContinuation, true, []byte("("))), 1007},
			"bad close code":        {string(clientFrame(ws.OpClose, true, []byte{0x03, 0xed})), 1002},
			"half a close code":     {string(clientFrame(ws.OpClose, true, []byte{0x03})), 1002},
			"long ping":             {string(clientFrame(ws.OpPing, true, make([]byte, 126))), 1002},
			"length over 2^63-1":    {"\x81\xff" + string(binary.BigEndian.AppendUint64(nil, 1<<63)) + "mask", 1002},
			"half a frame for ever": {text(true, "hello")[:7], 1008},
			"half a message":        {text(false, "hello"), 1008},
		} {
			bad := h.open(h.public)
			bad.send(c.bytes)
			if f := bad.next(); f.close != c.code {
				t.Errorf("%s: got %s, want close %d", name, f, c.code)
			}
			good.wantUndisturbed()
		}
		// What goes on and on is a message that takes too long like any other.
		for name, c := range map[string]struct{ first, again string }{
			"drip":            {text(true, strings.Repeat("x", 60))[:8], "x"},
			"pings":           {text(false, ""), string(clientFrame(ws.OpPong, true, nil))},
			"empty fragments": {text(false, ""), strings.Repeat(string(clientFrame(ws.OpContinuation, false, nil)), 1000)},
		} {
			bad := h.open(h.public)
			bad.drip(c.first, c.again)
			f := bad.next()
			if f.Code == refusal.RateLimited {
				f = bad.next()
			}
			if f.close != 1008 {
				t.Errorf("%s: got %s, want close 1008", name, f)
			}
			good.wantUndisturbed()
		}
		endless := h.open(h.public)
		endless.send("\x81\xff" + string(binary.BigEndian.AppendUint64(nil, 1<<63-1)) + "mask")
		endless.wantError(refusal.MessageTooLarge)
		if f := endless.next(); f.close != 1009 {
			t.Errorf("a frame of 2^63-1 bytes: %s", f)
		}
		before := h.dial("")
		before.send(text(true, "hello"))
		before.wantError(refusal.AuthRequired)
		if f := before.next(); f.close != 1008 {
			t.Errorf("text before auth: %s", f)
		}
		good.wantUndisturbed()
	})
}

// A client that sends without reading is not read any more, and what it made
// the server say is bounded; when it reads again, all answers come.
func TestFloodIsHeldBack(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.SendBufferBytes, c.MaxPublishes = 8<<10, 8 })
		c, good := h.open(h.secret), h.neighbour()
		const pings, publishes = 20_000, 2000
		go func() {
			var flood []byte
			for i := range pings {
				flood = append(flood, clientFrame(ws.OpPing, true, fmt.Appendf(nil, "%0100d", i))...)
			}
			for i := range publishes {
				flood = append(flood, clientFrame(ws.OpText, true,
					fmt.Appendf(nil, `{"type":"publish","channel":"flood","message":%d}`, i))...)
			}
			_, _ = c.socket.Write(flood) // an error shows at the reading end
		}()
		for i := range pings {
			if f := c.next(); f.raw != fmt.Sprintf("%0100d", i) {
				t.Fatalf("pong %d is %s", i, f)
			}
			if i%5000 == 0 {
				good.wantUndisturbed()
			}
		}
		for i := range uint64(publishes) {
			if f := c.want("published"); f.offset() != i+1 {
				t.Fatalf("publish %d is answered by %s", i, f)
			}
		}
	})
}

// Answers of one channel keep the order of their requests, however the broker
// answers. One that had to wait for its channel waits for its turn.
func TestAnswersKeepTheirOrder(t *testing.T) {
	c := &conn{loop: &loop{server: &Server{}}}
	var asked []*publish
	for i, channel := range []string{"a", "b", "a", "b", "a"} {
		asked = append(asked, &publish{channel: channel, id: fmt.Sprint(channel, i)})
	}
	c.pending = append(c.pending, asked...)
	var ids []string
	for _, i := range []int{2, 1, 4, 0, 3} {
		c.out.urgent = nil
		asked[i].receipt = receiptOf(uint64(i))
		c.answer(asked[i])
		for part := range strings.SplitSeq(string(c.out.urgent), `"id":"`) {
			if id, _, found := strings.Cut(part, `"}`); found {
				ids = append(ids, id)
			}
		}
	}
	if got, want := strings.Join(ids, " "), "b1 a0 a2 b3 a4"; got != want || len(c.pending) != 0 {
		t.Errorf("answered %s, want %s; %d left", got, want, len(c.pending))
	}
}

func TestConnectionCap(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.MaxConnections = 2 })
		first := h.open(h.public)
		h.open(h.public)
		over := h.connect()
		over.send(upgradeHead + "\r\n")
		res, err := http.ReadResponse(over.in, nil)
		if err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("got %v, %v", res, err)
		}
		_ = first.socket.Close()
		eventually(t, func() string {
			if n := h.server.ConnectionCount(); n != 1 {
				return fmt.Sprintf("%d connections", n)
			}
			return ""
		})
		h.open(h.public)
	})
}

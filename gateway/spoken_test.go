package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// typedRefusal reads an answer's refusal.
func typedRefusal(t *testing.T, res *http.Response) refusalJSON {
	t.Helper()
	var refused refusalJSON
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&refused); err != nil || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s answered with %q: %v", res.Status, body, err)
	}
	return refused
}

// Requests that make no sense are told why, and an operator finds them.
func TestRefusedHeadsAreTyped(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		for name, c := range map[string]struct {
			request string
			status  int
			reason  string
		}{
			"9 KB of cookies": {"GET /console/ HTTP/1.1\r\nHost: x\r\nCookie: a=" + strings.Repeat("x", 9000) +
				"\r\n\r\n", 431, "--max-handshake-bytes"},
			"an upgrade with them": {
				upgradeHead + "Cookie: a=" + strings.Repeat("x", 9000) + "\r\n\r\n", 431,
				"--max-handshake-bytes",
			},
			"a lost Upgrade": {strings.Replace(upgradeHead, "Upgrade: websocket\r\nConnection: Upgrade",
				"Connection: close", 1) + "\r\n", 426, "proxy"},
			"at the root": {strings.Replace(strings.Replace(upgradeHead, "/realtime", "/", 1),
				"Upgrade: websocket\r\n", "", 1) + "\r\n", 426, "proxy"},
			"over HTTP/1.0": {"GET / HTTP/1.0\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
				"Connection: close\r\n\r\n", 426, "proxy"},
			"another version": {strings.Replace(upgradeHead, ": 13", ": 8", 1) + "\r\n", 426, "version 13"},
			"two origins": {
				upgradeHead + "Origin: https://a.example\r\nOrigin: https://b.example\r\n\r\n", 400,
				"repeated header",
			},
		} {
			h := newHarness(t, poller)
			client := h.connect()
			client.send(c.request)
			res := client.wantResponse(c.status)
			if refused := typedRefusal(t, res); refused.Code != refusal.InvalidMessage ||
				!strings.Contains(refused.Error, c.reason) {
				t.Errorf("%s: %+v", name, refused)
			}
			if upgrade := res.Header.Get("Upgrade"); (c.status == 426) != (upgrade == "websocket") || c.status == 426 &&
				res.Header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("%s: %v", name, res.Header)
			}
			found, err := h.server.Refusals(refusal.Query{Limit: 9})
			if err != nil || len(found) != 1 || found[0].Via != "handshake" || found[0].Address != "127.0.0.1" ||
				!strings.Contains(found[0].Reason, c.reason) {
				t.Errorf("%s: refusals %+v, %v", name, found, err)
			}
			if n := h.metric("aptlyd_refusals_total", string(refusal.InvalidMessage), "handshake"); n != 1 {
				t.Errorf("%s: %v are counted", name, n)
			}
		}
	})
}

// Clients that are no browsers need not escape.
func TestRawUTF8InATarget(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("größe/π", 2)
		c := h.connect()
		c.send("GET /realtime/history?channel=größe/π HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.secret + "\r\n\r\n")
		res := c.wantResponse(200)
		var page historyPage
		if err := json.NewDecoder(res.Body).Decode(&page); err != nil || page.Channel != "größe/π" ||
			len(page.Messages) != 2 {
			t.Errorf("%+v, %v", page, err)
		}
		if poller == "portable" {
			return // net/http alone takes what is no text for a name that nothing has
		}
		c = h.connect()
		c.send("GET /realtime/history?channel=\xff HTTP/1.1\r\nHost: x\r\n\r\n")
		if refused := typedRefusal(t, c.wantResponse(400)); !strings.Contains(refused.Error, "UTF-8") {
			t.Errorf("%+v", refused)
		}
	})
}

// Of a client that broke the protocol nothing can be read any more, so it is told that
// nothing follows, and it is over when it hangs up: long before the grace is.
func TestBrokenClientIsLetGoAtOnce(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = time.Hour })
		for code, frame := range map[closeCode][]byte{
			ws.StatusProtocolError:           ws.MustCompileFrame(ws.NewTextFrame([]byte("not masked"))),
			ws.StatusUnsupportedData:         clientFrame(ws.OpBinary, true, []byte("x")),
			ws.StatusInvalidFramePayloadData: clientFrame(ws.OpText, true, []byte("\xff")),
		} {
			c := h.open(h.public)
			c.send(string(frame))
			if f := c.next(); f.close != code {
				t.Errorf("got %s, want close %d", f, code)
			}
			c.send(string(clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(code, ""))))
			if f := c.next(); !f.eof {
				t.Errorf("got %s, want the end", f)
			}
			_ = c.socket.Close()
		}
		eventually(t, func() string {
			if n := h.server.ConnectionCount(); n != 0 {
				return "a client is kept"
			}
			return ""
		})
	})
}

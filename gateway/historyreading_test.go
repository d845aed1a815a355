package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// historyPage is what a client reads of an answer.
type historyPage struct {
	Channel  string `json:"channel"`
	Earliest uint64 `json:"earliest"`
	Offset   uint64 `json:"offset"`
	Messages []struct {
		Offset uint64          `json:"offset"`
		Data   json.RawMessage `json:"data"`
	} `json:"messages"`
}

func (h *harness) historyOf(key, query string) historyPage {
	h.t.Helper()
	res, body := h.do("GET", "/realtime/history?"+query, "", "X-Api-Key", key, "Origin", testOrigin)
	if res.StatusCode != http.StatusOK {
		h.t.Fatalf("got %d: %v", res.StatusCode, body)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	var page historyPage
	if err := json.Unmarshal(raw, &page); err != nil {
		h.t.Fatalf("%v: %.200s", err, raw)
	}
	return page
}

// A page is the same in however many pieces it is read, and one for public keys
// is smaller.
func TestHistoryIsReadInPieces(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		text := fmt.Sprintf("%q", strings.Repeat("x", 10<<10))
		for range 150 {
			h.broker.append(h.channel("c"), text)
		}
		for _, c := range []struct {
			key, query string
			want       int
		}{
			{h.secret, "channel=c&limit=1000", 1 << 20 / len(text)},
			{h.public, "channel=c&limit=1000", publicHistoryBytes / len(text)},
			{h.secret, "channel=c&limit=7", 7},
			{h.secret, "channel=c&after=140", 10},
			{h.secret, "channel=c&after=150", 0},
			{h.public, "channel=empty", 0},
		} {
			page := h.historyOf(c.key, c.query)
			if len(page.Messages) != c.want {
				t.Errorf("%s: %d messages, want %d", c.query, len(page.Messages), c.want)
			}
			for i, m := range page.Messages {
				if m.Offset != page.Messages[0].Offset+uint64(i) || string(m.Data) != text {
					t.Fatalf("%s: message %d has offset %d", c.query, i, m.Offset)
				}
			}
		}
	})
}

// Answers that nobody reads hold 64 KiB each at most, are bounded for an address
// and a key, and are cut; who comes too often is told to come later. A backend
// reads on.
func TestUnreadHistoryIsBounded(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.MaxAddressHistoryReads, c.SendBufferBytes, c.HistoryTimeout = 2, 8<<10, time.Second
		})
		text := fmt.Sprintf("%q", strings.Repeat("x", 60<<10))
		for range 100 {
			h.broker.append(h.channel("c"), text)
		}
		var unread []*client
		for range 2 {
			c := h.connect()
			if err := c.socket.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
				t.Fatal(err)
			}
			c.send("GET /realtime/history?channel=c&limit=1000 HTTP/1.1\r\nHost: x\r\nOrigin: " + testOrigin +
				"\r\nX-Api-Key: " + h.public + "\r\n\r\n")
			unread = append(unread, c)
		}
		tooMany := func() bool {
			return h.server.readings.inFlight.Count() == 2
		}
		eventually(t, func() string {
			if !tooMany() {
				return "the answers are not under way"
			}
			return ""
		})
		res, body := h.do("GET", "/realtime/history?channel=c", "", "X-Api-Key", h.public, "Origin", testOrigin)
		if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" ||
			!strings.Contains(fmt.Sprint(body), "under way from this address") {
			t.Errorf("a third: %d, %v", res.StatusCode, body)
		}
		if got := len(h.historyOf(h.secret, "channel=c&limit=1000").Messages); got < 10 {
			t.Errorf("a backend gets %d", got)
		}
		eventually(t, func() string {
			if tooMany() {
				return "unread answers are not cut"
			}
			return ""
		})
		if h.metric("aptlyd_refusals_total", string(refusal.RateLimited), "rest") < 2 {
			t.Error("they are not counted")
		}
		for _, c := range unread {
			answer, _ := io.ReadAll(c.in)
			if strings.HasSuffix(string(answer), "]}\n\r\n0\r\n\r\n") {
				t.Error("a cut answer ends like a whole one")
			}
		}
	})
}

// What an address reads in a second is bounded, and paid for afterwards.
func TestHistoryRate(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.AddressHistory = 10 << 10 })
		h.broker.append(h.channel("c"), fmt.Sprintf("%q", strings.Repeat("x", 60<<10)))
		h.historyOf(h.public, "channel=c")
		res, body := h.do("GET", "/realtime/history?channel=c", "", "X-Api-Key", h.public, "Origin", testOrigin)
		if res.StatusCode != http.StatusTooManyRequests {
			t.Errorf("got %d, %v", res.StatusCode, body)
		}
		h.historyOf(h.secret, "channel=c")
	})
}

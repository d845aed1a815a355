package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const pollHead = "Host: broker.example.com\r\nOrigin: " + testOrigin + "\r\n\r\n"

// polled is the answer to a long poll.
type polled struct {
	Cursor   string `json:"cursor"`
	Epoch    string `json:"epoch"`
	Channels []struct {
		Channel   string `json:"channel"`
		Offset    uint64 `json:"offset"`
		Earliest  uint64 `json:"earliest"`
		Recovered bool   `json:"recovered"`
		Gap       *struct {
			From uint64 `json:"from"`
			To   uint64 `json:"to"`
		} `json:"gap"`
		Messages []struct {
			Offset    uint64          `json:"offset"`
			Timestamp int64           `json:"timestamp"`
			Data      json.RawMessage `json:"data"`
		} `json:"messages"`
	} `json:"channels"`
}

// poll asks on a connection of its own, or on the next one of a client.
func (h *harness) poll(c *client, query string) polled {
	h.t.Helper()
	c.send(
		"GET /realtime/poll?key=" + h.public + "&" + query + " HTTP/1.1\r\n" + pollHead,
	)
	return c.polled(query)
}

func (c *client) polled(query string) (p polled) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" ||
		res.Header.Get("Referrer-Policy") != "no-referrer" {
		c.t.Fatalf("%s: %s %v", query, res.Status, res.Header)
	}
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

func TestLongPoll(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("a", 3)
		c := h.connect() // all requests come on one connection
		p := h.poll(c, "channel=a&channel=b")
		if len(p.Channels) != 2 || p.Epoch != "epoch-1" || p.Channels[0].Channel != "a" ||
			len(p.Channels[0].Messages) != 3 ||
			p.Channels[0].Messages[2].Offset != 3 || p.Channels[0].Offset != 3 || p.Channels[0].Earliest != 1 ||
			!p.Channels[0].Recovered || p.Channels[1].Channel != "b" ||
			p.Channels[1].Messages == nil ||
			p.Channels[1].Gap != nil {
			t.Fatalf("%+v", p)
		}
		// It waits for what comes, and answers at once with it.
		c.send("GET /realtime/poll?key=" + h.public + "&channel=b&channel=a&cursor=" + p.Cursor +
			" HTTP/1.1\r\n" + pollHead)
		h.untilSubscribed("b")
		h.broker.append(h.channel("b"), "{\n}")
		p = c.polled("waiting")
		if len(p.Channels[0].Messages) != 1 || string(p.Channels[0].Messages[0].Data) != "{\n}" ||
			len(p.Channels[1].Messages) != 0 ||
			p.Channels[0].Offset != 1 {
			t.Fatalf("%+v", p)
		}
		// Nothing is there within the time.
		begun := time.Now()
		empty := h.poll(c, "wait=1&channel=b&channel=a&cursor="+p.Cursor)
		if len(empty.Channels[0].Messages) != 0 || empty.Cursor != p.Cursor ||
			time.Since(begun) < 900*time.Millisecond {
			t.Errorf("%+v after %v", empty, time.Since(begun))
		}
		if p = h.poll(c, "wait=0&channel=a&cursor=epoch-1.3"); p.Cursor != "epoch-1.3" {
			t.Errorf("%+v", p)
		}
		// One that does not wait gets what is there.
		p = h.poll(c, "wait=0&channel=a&channel=b")
		if len(p.Channels[0].Messages) != 3 || len(p.Channels[1].Messages) != 1 {
			t.Errorf("without waiting: %+v", p)
		}
		// What retention has overtaken is told exactly.
		h.fill("a", 5)
		h.broker.trim(h.channel("a"), 6)
		if p = h.poll(c, "channel=a&cursor=epoch-1.3"); p.Channels[0].Gap == nil ||
			p.Channels[0].Gap.From != 4 || p.Channels[0].Gap.To != 5 ||
			p.Channels[0].Recovered ||
			len(p.Channels[0].Messages) != 3 ||
			p.Cursor != "epoch-1.8" {
			t.Errorf("%+v", p)
		}
		// A foreign cursor counts as none.
		if p = h.poll(c, "channel=a&cursor=epoch-0.3&from=last:2"); p.Channels[0].Recovered ||
			len(p.Channels[0].Messages) != 2 ||
			p.Channels[0].Gap != nil {
			t.Errorf("%+v", p)
		}
		if n := h.metric("aptlyd_closes_total", "1013"); n != 0 {
			t.Errorf("%v closes", n)
		}
		_ = c.socket.Close()
		h.noPendingConns()
		eventually(t, func() string {
			if n := h.server.ConnectionCount(); n != 0 {
				return fmt.Sprintf("%d connections are left", n)
			}
			if u := h.server.unauthenticated; u.Total != 0 {
				return fmt.Sprintf("%d unauthenticated sockets are left", u.Total)
			}
			return ""
		})
	})
}

// While a poll waits nothing is written in front of its answer, and a socket whose client is
// known is not idle.
func TestLongPollWaitsLongerThanAHeartbeat(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.Heartbeat, c.UnauthenticatedIdle = 20*time.Millisecond, 200*time.Millisecond
		})
		if p := h.poll(h.connect(), "wait=1&channel=c"); len(p.Channels) != 1 || len(p.Channels[0].Messages) != 0 {
			t.Errorf("%+v", p)
		}
	})
}

func TestLongPollOfAClientThatHangsUp(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.connect()
		c.send("GET /realtime/poll?key=" + h.public + "&channel=c HTTP/1.1\r\n" + pollHead)
		h.untilSubscribed("c")
		_ = c.socket.Close()
		eventually(t, func() string {
			if n := h.server.ConnectionCount(); n != 0 || h.server.HasSubscribers(h.channel("c")) {
				return fmt.Sprintf("%d connections are left", n)
			}
			return ""
		})
		h.noPendingConns()
	})
}

// An answer is bounded, and the next one goes on where it has ended.
func TestLongPollIsBounded(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		for range 25 {
			h.fill("a", 100)
		}
		for range 20 {
			h.broker.append(h.channel("big"), `"`+strings.Repeat("x", 100_000)+`"`)
		}
		c := h.connect()
		cursor, counts := "", ""
		for next := uint64(1); next <= 2500; {
			p := h.poll(c, "channel=a&cursor="+cursor)
			counts += fmt.Sprint(len(p.Channels[0].Messages), " ")
			for _, m := range p.Channels[0].Messages {
				if m.Offset != next {
					t.Fatalf("offset %d, want %d", m.Offset, next)
				}
				next++
			}
			cursor = p.Cursor
		}
		if counts != "1000 1000 500 " {
			t.Errorf("messages: %s", counts)
		}
		cursor, counts = "", ""
		for range 2 {
			p := h.poll(c, "channel=big&cursor="+cursor)
			counts += fmt.Sprint(len(p.Channels[0].Messages), " ")
			cursor = p.Cursor
		}
		if counts != "10 10 " {
			t.Errorf("large messages: %s", counts)
		}
		if in := h.server.readings.inFlight; in.Count() != 0 {
			t.Errorf("%d answers are still counted", in.Count())
		}
	})
}

// A drained node answers those that wait.
func TestLongPollOfANodeThatDrains(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.DrainSpread = 50 * time.Millisecond })
		c := h.connect()
		h.poll(c, "channel=c&wait=0")
		c.send("GET /realtime/poll?key=" + h.public + "&channel=c HTTP/1.1\r\n" + pollHead)
		h.untilSubscribed("c")
		drained := h.drain()
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != http.StatusOK || !res.Close {
			t.Fatalf("waiting: %+v, %v", res, err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(body), `{"cursor":"epoch-1.0"`) {
			t.Errorf("%s, %v", body, err)
		}
		if f, err := c.in.ReadByte(); err == nil {
			t.Errorf("a byte %q behind the answer", f)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// untilSubscribed waits until somebody follows a channel.
func (h *harness) untilSubscribed(channel string) {
	h.t.Helper()
	eventually(h.t, func() string {
		if !h.server.HasSubscribers(h.channel(channel)) {
			return "nobody waits"
		}
		return ""
	})
}

// Where net/http has the socket, the answer of an unknown client takes a turn, as its request
// did. A thousand that are answered at once do not keep the loops from running.
func TestAnswersOfLongPollsTakeTurns(t *testing.T) {
	h := newHarness(t, "portable")
	q := h.server.turnQueue
	c := h.connect()
	c.send("GET /realtime/poll?key=" + h.public + "&channel=c HTTP/1.1\r\n" + pollHead)
	h.untilSubscribed("c")
	giveBack := q.take()
	h.fill("c", 1)
	eventually(t, func() string {
		if q.count() != 1 {
			return "the answer does not wait for its turn"
		}
		return ""
	})
	giveBack()
	if p := c.polled("waiting"); len(p.Channels[0].Messages) != 1 {
		t.Errorf("%+v", p)
	}

	h = newHarness(t, "portable", func(c *Config) { c.HandshakeTimeout = 300 * time.Millisecond })
	c = h.connect()
	c.send("GET /realtime/poll?key=" + h.public + "&channel=c HTTP/1.1\r\n" + pollHead)
	h.untilSubscribed("c")
	defer h.server.turnQueue.take()()
	h.fill("c", 1)
	if p := c.polled("without a turn"); len(p.Channels[0].Messages) != 1 {
		t.Errorf("%+v", p)
	}
}

// So are those whose channels are still looked up.
func TestLongPollOfANodeThatDrainsMeanwhile(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.DrainSpread = time.Millisecond })
		looks, answer := make(chan struct{}), make(chan struct{})
		goOn := sync.OnceFunc(func() { close(answer) })
		t.Cleanup(goOn) // also if it fails
		h.broker.set(func() {
			h.broker.channelHook = func() {
				close(looks)
				<-answer
			}
		})
		c := h.connect()
		c.send("GET /realtime/poll?key=" + h.public + "&channel=c HTTP/1.1\r\n" + pollHead)
		<-looks
		drained := h.drain()
		eventually(t, func() string {
			reason := ""
			h.server.ask(func(l *loop) func() {
				for _, c := range l.conns {
					if !c.draining {
						return func() { reason = "it is not drained" }
					}
				}
				return func() {}
			})
			return reason
		})
		goOn()
		if p := c.polled("looked up"); p.Cursor != "epoch-1.0" {
			t.Errorf("%+v", p)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// Whatever follows an answer is read anew: requests at once, another kind of request, and
// none at all.
func TestRequestsBehindALongPoll(t *testing.T) {
	h := newHarness(t, poll.Default, func(c *Config) { c.KeepAliveTimeout = 300 * time.Millisecond })
	request := "GET /realtime/poll?key=" + h.public + "&wait=0&channel=c HTTP/1.1\r\n" + pollHead
	c := h.connect()
	c.send(strings.Repeat(request, 3) + "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" + request)
	for i := range 5 {
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("answer %d: %v %v", i, res, err)
		}
		var body json.RawMessage
		_ = json.NewDecoder(res.Body).Decode(&body) // one is no JSON
		_ = res.Body.Close()
	}
	_ = c.socket.Close()
	c = h.connect()
	c.send(request)
	c.polled("alone")
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("a socket that brings nothing is kept")
	}
	h.noPendingConns()
}

// What polls are answered counts as history that is read: a client that polls for all of a
// channel again and again is told to wait, and a backend is not.
func TestLongPollsCountAsReading(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.AddressHistory = 8 << 10 })
		h.fill("c", 2000)
		poll := func(key string) *http.Response {
			c := h.connect()
			c.send("GET /realtime/poll?channel=c&from=all HTTP/1.1\r\nHost: x\r\nOrigin: " + testOrigin +
				"\r\nX-Api-Key: " + key + "\r\n\r\n")
			res, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			return res
		}
		for range 20 {
			if res := poll(h.secret); res.StatusCode != 200 {
				t.Fatalf("a backend gets %s", res.Status)
			}
		}
		last := poll(h.public)
		for range 20 {
			last = poll(h.public)
		}
		if last.StatusCode != 429 || last.Header.Get("Retry-After") == "" {
			t.Errorf("got %s with %v", last.Status, last.Header)
		}
		if got := h.lastRefusal(refusal.Query{Code: refusal.RateLimited}); got.Reason != "too much history is read at once" {
			t.Errorf("%+v", got)
		}
	})
}

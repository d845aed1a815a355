package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/sse"
)

// events is a client of Server-Sent Events that does what it is told and nothing else.
type events struct {
	t    testing.TB
	res  *http.Response
	in   *bufio.Reader
	last string // id
}

// event is what an EventSource would show, with its last event id.
type event struct {
	kind, data, id string
	retry          string
	eof            bool
	frame          frame
}

func (e event) String() string {
	if e.eof {
		return "the end"
	}
	return fmt.Sprintf("event %q, data %q, id %q", e.kind, e.data, e.id)
}

// request sends a request and reads the head of its answer. Header lines end in \r\n.
func (h *harness) request(target, header string) *http.Response {
	h.t.Helper()
	c := h.connect()
	c.send("GET " + target + " HTTP/1.1\r\nHost: broker.example.com\r\n" + header + "\r\n")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		h.t.Fatalf("%s: %v", target, err)
	}
	return res
}

// events asks for events from the allowed origin, with the public key in the query.
func (h *harness) events(query, header string) *events {
	h.t.Helper()
	res := h.request(
		"/realtime/sse?key="+h.public+"&"+query,
		"Accept: text/event-stream\r\nOrigin: "+testOrigin+"\r\n"+header,
	)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(res.Body)
		h.t.Fatalf("%s: %s %v %s", query, res.Status, res.Header, body)
	}
	return &events{t: h.t, res: res, in: bufio.NewReader(res.Body)}
}

// next returns the next block of lines that is no comment.
func (e *events) next() (got event) {
	e.t.Helper()
	for lines := 0; ; {
		line, err := e.in.ReadString('\n')
		if err != nil {
			return event{eof: true}
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && lines > 0:
			if got.id != "" {
				e.last = got.id
			}
			got.frame.raw = got.data
			if got.data != "" {
				if err := json.Unmarshal([]byte(got.data), &got.frame); err != nil {
					e.t.Fatalf("data %q: %v", got.data, err)
				}
			}
			return got
		case line == "" || name == "":
			continue
		case name == "event":
			got.kind = value
		case name == "data":
			got.data += value
		case name == "id":
			got.id = value
		case name == "retry":
			got.retry = value
		default:
			e.t.Fatalf("line %q", line)
		}
		lines++
	}
}

func (e *events) want(kind string) event {
	e.t.Helper()
	got := e.next()
	if got.eof || got.kind != kind || got.data == "" {
		e.t.Fatalf("got %s, want an event %q", got, kind)
	}
	if kind != "" && got.frame.Type != kind {
		e.t.Fatalf("the frame of event %q is %s", kind, got.data)
	}
	return got
}

func (e *events) wantMessages(channel string, first, last uint64, replay bool) {
	e.t.Helper()
	for offset := first; offset <= last; offset++ {
		got := e.want("")
		f := got.frame
		if f.Channel == nil || *f.Channel != channel || f.offset() != offset || f.Replay == nil ||
			*f.Replay != replay ||
			f.Type != "" {
			e.t.Fatalf("got %s, want offset %d of %s, replay %v", got, offset, channel, replay)
		}
	}
}

func (e *events) wantCursor() string {
	e.t.Helper()
	got := e.next()
	if got.id == "" || got.data != "" || got.kind != "" {
		e.t.Fatalf("got %s, want a cursor alone", got)
	}
	return got.id
}

func (e *events) wantEnd() {
	e.t.Helper()
	if got := e.next(); !got.eof {
		e.t.Fatalf("got %s, want the end", got)
	}
}

func TestEventsOfOneChannel(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("c", 3)
		e := h.events("channel=c", "")
		for name, want := range map[string]string{
			"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "Referrer-Policy": "no-referrer",
			"Access-Control-Allow-Origin": testOrigin, "Vary": "Origin", "X-Content-Type-Options": "nosniff",
		} {
			if got := e.res.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		got := e.want("subscribed")
		if got.id != "epoch-1.0" || got.retry == "" || got.frame.offset() != 3 || got.frame.Recovered == nil ||
			!*got.frame.Recovered {
			t.Errorf("%s, retry %s", got, got.retry)
		}
		e.wantMessages("c", 1, 3, true)
		h.broker.append(h.channel("c"), "{\"a\":\r\n1}")
		live := e.want("")
		if live.id != "epoch-1.4" || !strings.Contains(live.data, `"data":{"a":  1},"offset":4`) {
			t.Errorf("live: %s", live)
		}
		// It resumes behind the last one that it has, by header before query.
		e = h.events("channel=c&cursor=epoch-1.1&from=all", "Last-Event-ID: epoch-1.3\r\n")
		if got := e.want("subscribed"); got.id != "epoch-1.3" || !*got.frame.Recovered {
			t.Errorf("%s", got)
		}
		e.wantMessages("c", 4, 4, true)
		// What retention has overtaken is told exactly.
		h.broker.trim(h.channel("c"), 4)
		e = h.events("channel=c&cursor=epoch-1.1&from=live", "")
		if got := e.want("subscribed"); got.id != "epoch-1.1" || *got.frame.Recovered {
			t.Errorf("%s", got)
		}
		if got := e.want("gap"); got.id != "epoch-1.3" || got.frame.From != 2 || got.frame.To != 3 {
			t.Errorf("%s", got)
		}
		e.wantMessages("c", 4, 4, true)
		// A cursor that means nothing here counts as none, and the client is told.
		for _, cursor := range []string{"epoch-0.1", "epoch-1.x", "epoch-1.abc.1,2", "nonsense", "epoch-1.01"} {
			e = h.events("channel=c&from=last:1&cursor="+cursor, "")
			if got := e.want("subscribed"); got.id != "epoch-1.3" || *got.frame.Recovered {
				t.Errorf("%s: %s", cursor, got)
			}
			e.wantMessages("c", 4, 4, true)
		}
	})
}

func TestEventsOfSeveralChannels(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("a", 2)
		h.fill("b", 1)
		e := h.events("channel=b&channel=a&channel=b", "")
		seen := make(map[string]int)
		for seen["messages"] < 3 || e.last == "" || !strings.HasSuffix(e.last, ".2,1") {
			got := e.next()
			switch {
			case got.eof:
				t.Fatalf("the end, after %v", seen)
			case got.kind == "subscribed":
				seen["subscribed"]++
			case got.data != "":
				seen["messages"]++
			}
			if got.data != "" && got.id != "" {
				t.Errorf("%s has a cursor", got)
			}
		}
		if seen["subscribed"] != 2 {
			t.Errorf("%v", seen)
		}
		cursor := e.last
		h.broker.append(h.channel("b"), `2`)
		e.wantMessages("b", 2, 2, false)
		if after := e.wantCursor(); after != strings.TrimSuffix(cursor, ",1")+",2" {
			t.Errorf("the cursor goes from %s to %s", cursor, after)
		}
		// The order of names in the request does not matter.
		e = h.events("channel=a&channel=b", "Last-Event-ID: "+cursor+"\r\n")
		for range 2 {
			if got := e.want("subscribed"); !*got.frame.Recovered {
				t.Errorf("%s", got)
			}
		}
		for got := e.next(); ; got = e.next() {
			if got.data == "" && !got.eof {
				continue
			}
			if f := got.frame; got.eof || *f.Channel != "b" || f.offset() != 2 {
				t.Fatalf("%s, want offset 2 of b", got)
			}
			break
		}
		// A cursor of other channels counts as none.
		e = h.events("channel=a&channel=c&from=live", "Last-Event-ID: "+cursor+"\r\n")
		for range 2 {
			if got := e.want("subscribed"); *got.frame.Recovered {
				t.Errorf("%s", got)
			}
		}
	})
}

// A stream that may not have one of its channels any more is refused once, whatever is still
// to be found out about the others.
func TestRightsThatEndWhileAStreamSubscribes(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		take := sync.OnceFunc(func() { h.change(func(p *fsm.Project) { p.Access.Subscribe = []string{"z"} }) })
		h.broker.set(func() { h.broker.channelHook = take })
		list := sse.AppendListCursor(nil, "epoch-1", sse.ListOf([]string{"a", "b", "z"}))
		res := h.request("/realtime/sse?key="+h.public+"&channel=a&channel=b&channel=z&cursor="+string(list)+"0,0,5",
			"Origin: "+testOrigin+"\r\n")
		if res.StatusCode != 403 {
			t.Errorf("got %s", res.Status)
		}
		if kept, err := h.server.Refusals(refusal.Query{Limit: 10}); err != nil || len(kept) != 1 {
			t.Errorf("%d refusals are kept: %+v, %v", len(kept), kept, err)
		}
	})
}

// A stream of many channels subscribes to them in parts. Each of its cursors is one of all.
func TestCursorOfManyChannels(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		for i := range sse.MaxChannels {
			h.fill(fmt.Sprintf("c%d", i), 1)
		}
		e := h.events(many(sse.MaxChannels, "channel=c%d", "&"), "")
		for messages, cursors := 0, 0; messages < sse.MaxChannels || cursors == 0; {
			switch got := e.next(); {
			case got.eof:
				t.Fatal("the stream ends")
			case got.id != "":
				cursors++
				if n := strings.Count(got.id, ",") + 1; n != sse.MaxChannels {
					t.Fatalf("the cursor %s has %d offsets", got.id, n)
				}
			case got.kind == "":
				messages++
			}
		}
	})
}

func TestPostForEvents(t *testing.T) {
	h := newHarness(t, "")
	h.fill("a", 3)
	h.fill("b", 3)
	body := `{"channels":[{"name":"a","fromOffset":2,"epoch":"epoch-1"},{"name":"b","from":"live"}]}`
	c := h.connect()
	c.send(
		fmt.Sprintf(
			"POST /realtime/sse HTTP/1.1\r\nHost: b.example.com\r\nAuthorization: Bearer %s\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			h.secret,
			len(body),
			body,
		),
	)
	res, err := http.ReadResponse(c.in, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v %v", res, err)
	}
	e := &events{t: t, res: res, in: bufio.NewReader(res.Body)}
	e.want("subscribed")
	e.want("subscribed")
	for {
		if got := e.next(); got.data != "" || got.eof {
			if got.eof || got.frame.offset() != 3 || *got.frame.Channel != "a" {
				t.Fatalf("%s", got)
			}
			break
		}
	}
	// A client that comes back says its cursor beside the same body.
	for _, back := range []struct{ query, header string }{
		{"", "Last-Event-ID: epoch-1.1\r\n"},
		{"?cursor=epoch-1.1", ""},
		{"?cursor=epoch-1.2", "Last-Event-ID: epoch-1.1\r\n"},
	} {
		again := `{"channels":[{"name":"a","from":"live"}]}`
		c := h.connect()
		c.send(fmt.Sprintf("POST /realtime/sse%s HTTP/1.1\r\nHost: b.example.com\r\nAuthorization: Bearer %s\r\n%s"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			back.query, h.secret, back.header, len(again), again))
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%v: %v %v", back, res, err)
		}
		e := &events{t: t, res: res, in: bufio.NewReader(res.Body)}
		if got := e.want("subscribed"); got.id != "epoch-1.1" || !*got.frame.Recovered {
			t.Fatalf("%v: %s", back, got)
		}
		e.wantMessages("a", 2, 3, true)
	}
	for _, bad := range []string{
		`{}`, `{"channels":[]}`, `{"channels":[{"name":"a"},{"name":"a"}]}`,
		`{"channels":[{"name":1}]}`, `{"channels":[{"name":"a","fromOffset":-1}]}`,
		`{"channels":[1]}`, `{"channels":[{"name":"a\u0000"}]}`, `{"channels":` + "[" + many(51, `{"name":"%d"}`, ",") +
			"]" + `}`,
	} {
		res, answer := h.do(
			"POST",
			"/realtime/sse",
			bad,
			"X-Api-Key",
			h.secret,
			"Content-Type",
			"application/json",
			"Accept",
			"text/event-stream",
		)
		if res.StatusCode != 400 || answer["code"] == "" {
			t.Errorf("%s: %s %v", bad, res.Status, answer)
		}
	}
}

// many joins as many texts, each with its number.
func many(n int, format, between string) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(texts, between)
}

// A final refusal has its status; a passing one is an event to a browser, which would not
// come back otherwise.
func TestRefusalsOfEvents(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.FailedAuthBurst = 1000 })
		h.change(func(p *fsm.Project) { p.Access.Subscribe = []string{"open:*"} })
		const accept = "Accept: text/event-stream\r\n"
		long := h.token(h.secret, 2*time.Hour, `,"channels":{"*":["subscribe"]}`)
		short := h.token(h.secret, 30*time.Minute, `,"channels":{"*":["subscribe"]}`)
		for _, c := range []struct {
			query, header string
			status        int
			code          refusal.Code
		}{
			{"channel=open:1&key=" + h.public, "Origin: " + testOrigin + "\r\n", 200, ""},
			{"channel=open:1&token=" + short, "", 200, ""},
			{"channel=open:1&token=" + long, "", 401, refusal.TokenInvalid},
			{"channel=open:1", "Authorization: Bearer " + long + "\r\n", 200, ""},
			{"channel=open:1", "authorization: bearer " + h.secret + "\r\n", 200, ""},
			{"channel=open:1", "X-Api-Key: " + h.secret + "\r\n", 200, ""},
			{"channel=open:1", "Authorization: Basic " + h.secret + "\r\n", 400, refusal.InvalidMessage},
			{"channel=open:1", "", 401, refusal.AuthRequired},
			{"channel=open:1&key=" + h.secret, "", 401, refusal.KeyInURL},
			{"channel=open:1&apiKey=" + h.secret, "", 401, refusal.KeyInURL},
			{"channel=open:1&key=nonsense", "", 401, refusal.InvalidKey},
			{"channel=open:1&key=" + h.public, "Origin: https://evil.example\r\n", 403, refusal.OriginNotAllowed},
			{"channel=open:1&key=" + h.public, "", 403, refusal.OriginNotAllowed},
			// A page of the broker's own host, as behind a proxy with paths: its browser
			// sends no Origin, but says where the page is from.
			{"channel=open:1&key=" + h.public, "Sec-Fetch-Site: same-origin\r\nReferer: " + testOrigin + "/chat\r\n", 200, ""},
			{
				"channel=open:1&key=" + h.public, "Sec-Fetch-Site: cross-site\r\nReferer: " + testOrigin + "/chat\r\n",
				403, refusal.OriginNotAllowed,
			},
			{"channel=shut:1&key=" + h.public, "Origin: " + testOrigin + "\r\n", 403, refusal.Forbidden},
			{"channel=open:1&channel=shut:1&key=" + h.public, "Origin: " + testOrigin + "\r\n", 403, refusal.Forbidden},
			{"key=" + h.public, "", 400, refusal.InvalidChannel},
			{"channel=&key=" + h.public, "", 400, refusal.InvalidChannel},
			{"channel=a%00&key=" + h.public, "", 400, refusal.InvalidChannel},
			{"channel=a&from=some&key=" + h.public, "", 400, refusal.InvalidMessage},
			{"channel=a&cursor=1&cursor=2&key=" + h.public, "", 400, refusal.InvalidMessage},
			{"channel=a&token=x&key=" + h.public, "", 400, refusal.InvalidMessage},
			{"channel=a&key=" + h.public, "Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n", 400, refusal.InvalidMessage},
			{many(51, "channel=%d", "&") + "&key=" + h.public, "", 400, refusal.TooManyChannels},
		} {
			res := h.request("/realtime/sse?"+c.query, accept+c.header)
			var answer refusalJSON
			if res.StatusCode != 200 {
				if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
					t.Errorf("%s: %v", c.query, err)
				}
			}
			if res.StatusCode != c.status || answer.Code != c.code {
				t.Errorf("%s %s: %s %+v, want %d %s", c.query, c.header, res.Status, answer, c.status, c.code)
			}
			if res.Header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("%s: Referrer-Policy %q", c.query, res.Header.Get("Referrer-Policy"))
			}
			if acao := res.Header.Get("Access-Control-Allow-Origin"); c.code == refusal.OriginNotAllowed && acao != "" {
				t.Errorf("%s: Access-Control-Allow-Origin %q", c.query, acao)
			}
		}
		kept, err := h.server.Refusals(refusal.Query{Code: refusal.KeyInURL, Limit: 10})
		if err != nil || len(kept) == 0 || kept[0].KeyPrefix != h.secret[:8] {
			t.Errorf("refusals that were kept: %+v, %v", kept, err)
		}
		for _, record := range kept {
			if strings.Contains(fmt.Sprint(record), h.secret) {
				t.Errorf("the key is kept: %+v", record)
			}
		}

		h.broker.set(func() { h.broker.staleness = CloseAfter - time.Second })
		e := h.events("channel=open:1", "")
		if got := e.want("error"); got.retry != "2000" || got.frame.Code != refusal.Unavailable {
			t.Errorf("%s, retry %q", got, got.retry)
		}
		e.wantEnd()
		res := h.request("/realtime/sse?channel=open:1&key="+h.public, "Origin: "+testOrigin+"\r\n")
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("a client that takes no events: %s %v", res.Status, res.Header)
		}
		res = h.request("/realtime/poll?channel=open:1&key="+h.public, accept+"Origin: "+testOrigin+"\r\n")
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("a poll: %s %v", res.Status, res.Header)
		}
	})
}

// A starting and a draining node refuse passingly.
func TestEventsOfANodeThatDrains(t *testing.T) {
	h := newHarness(
		t,
		"",
		func(c *Config) { c.Loops, c.DrainSpread, c.CloseGrace = 1, 100*time.Millisecond, 20*time.Millisecond },
	)
	h.broker.set(func() { h.broker.endpoints = []string{"wss://b.example.com"} })
	e := h.events("channel=c", "")
	e.want("subscribed")
	drained := h.drain()
	got := e.want("goaway")
	var f goAwayFrame
	if err := json.Unmarshal([]byte(got.data), &f); err != nil || f.Reason != "draining" || len(f.Endpoints) != 1 {
		t.Errorf("%s", got)
	}
	// It still gets messages.
	h.broker.append(h.channel("c"), "1")
	e.wantMessages("c", 1, 1, false)
	e.wantEnd()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	e = h.events("channel=c", "")
	if got := e.want("error"); got.retry != "2000" || got.frame.Code != refusal.Unavailable {
		t.Errorf("%s", got)
	}
}

func TestEventsEndWithTheKey(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		e := h.events("channel=c", "")
		e.want("subscribed")
		h.broker.endKey(h.public)
		h.broker.append(h.channel("c"), "1")
		if got := e.want("error"); got.frame.Code != refusal.KeyRevoked {
			t.Errorf("%s", got)
		}
		e.wantEnd()
		res := h.request(
			"/realtime/sse?channel=c&key="+h.public,
			"Accept: text/event-stream\r\nOrigin: "+testOrigin+"\r\n",
		)
		if res.StatusCode != 401 {
			t.Errorf("it comes back: %s", res.Status)
		}
		eventually(t, func() string {
			if n := h.server.ConnectionCount(); n != 0 {
				return fmt.Sprintf("%d connections are left", n)
			}
			return ""
		})
		h.noPendingConns()
	})
}

func TestCommentsKeepEventsAlive(t *testing.T) {
	h := newHarness(t, "", func(c *Config) { c.Heartbeat = 20 * time.Millisecond })
	e := h.events("channel=c", "")
	e.want("subscribed")
	for range 3 {
		if line, err := e.in.ReadString('\n'); err != nil || line != ":\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if line, err := e.in.ReadString('\n'); err != nil || line != "\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
}

// A client that takes nothing is closed after a while, and one that resumes has everything.
func TestSlowClientOfEvents(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(
			t,
			poller,
			func(c *Config) { c.StallTimeout, c.CloseGrace = 300*time.Millisecond, 50*time.Millisecond },
		)
		e := h.events("channel=c&channel=d", "")
		e.want("subscribed")
		e.want("subscribed")
		payload := `"` + strings.Repeat("x", 60<<10) + `"`
		eventually(t, func() string {
			h.broker.append(h.channel("c"), payload)
			if h.metric("aptlyd_closes_total", "4008") == 0 {
				return "not closed as slow"
			}
			return ""
		})
		last, seen := "", uint64(0)
		for got := e.next(); !got.eof; got = e.next() {
			if got.data != "" {
				if seen++; got.frame.offset() != seen {
					t.Fatalf("offset %d after %d messages", got.frame.offset(), seen)
				}
			}
			last = e.last
		}
		e = h.events("channel=c&channel=d", "Last-Event-ID: "+last+"\r\n")
		for {
			if got := e.next(); got.kind == "" && got.data != "" {
				if got.frame.offset() > seen+1 || got.frame.offset() == 0 {
					t.Errorf("it resumes with offset %d, and has %d", got.frame.offset(), seen)
				}
				break
			}
		}
	})
}

// What a client sends behind its request is of no use, and little of it is taken.
func TestBytesBehindTheRequest(t *testing.T) {
	h := newHarness(t, "")
	c := h.connect()
	c.send(
		"GET /realtime/sse?channel=c&key=" + h.public + " HTTP/1.1\r\n" +
			"Host: b.example.com\r\nOrigin: " + testOrigin + "\r\n\r\n",
	)
	if _, err := http.ReadResponse(c.in, nil); err != nil {
		t.Fatal(err)
	}
	_, _ = c.socket.Write(bytes.Repeat([]byte("x"), maxHeard+1))
	eventually(t, func() string {
		if n := h.server.ConnectionCount(); n != 0 {
			return fmt.Sprintf("%d connections", n)
		}
		return ""
	})
}

// Events of a memory channel have no cursor of their own.
func TestEventsOfAMemoryChannel(t *testing.T) {
	h := newHarness(t, "")
	e := h.events("channel=c", "")
	e.want("subscribed")
	h.server.Transient([]fsm.Appended{{Channel: h.channel("c"), Messages: []fsm.Message{{Data: []byte("1")}}}})
	if got := e.want(""); got.id != "" || got.frame.offset() != 0 {
		t.Errorf("%s", got)
	}
}

// However a stream is cut, the cursor that the client then has is not ahead of the messages
// that it was shown.
func TestStreamThatIsCutAtEveryByte(t *testing.T) {
	for _, channels := range []string{"channel=a", "channel=a&channel=b"} {
		h := newHarness(t, "")
		h.fill("a", 2)
		e := h.events(channels, "")
		var raw bytes.Buffer
		e.in = bufio.NewReader(io.TeeReader(e.res.Body, &raw))
		e.want("subscribed")
		for i := range 5 {
			h.fill("a", 1+i%2)
			h.fill("b", i%3)
		}
		want := map[string]uint64{"a": 9}
		if strings.Contains(channels, "b") {
			want["b"] = 4
		}
		read := func(e *events, got map[string]uint64) (cursor string) {
			for b := e.next(); !b.eof; b = e.next() {
				if b.kind == "" && b.data != "" {
					name := *b.frame.Channel
					if b.frame.offset() != got[name]+1 {
						t.Fatalf("%s: offset %d behind %d", name, b.frame.offset(), got[name])
					}
					got[name]++
				}
				if got["a"] == want["a"] && got["b"] == want["b"] && strings.HasSuffix(e.last, cursorEnd(want)) {
					break
				}
			}
			return e.last
		}
		read(e, make(map[string]uint64))
		all := raw.Bytes()
		for cut := range len(all) {
			got := make(map[string]uint64)
			cursor := read(&events{t: t, in: bufio.NewReader(bytes.NewReader(all[:cut]))}, got)
			if cursor == "" {
				continue
			}
			names := []string{"a", "b"}[:len(want)]
			has, ok := sse.ParseCursor(cursor, "epoch-1", names)
			if !ok {
				t.Fatalf("cut at %d: cursor %q", cut, cursor)
			}
			for i, name := range names {
				if has[i] > got[name] {
					t.Fatalf("cut at %d: cursor %s, but only %d of %s are there", cut, cursor, got[name], name)
				}
				if len(names) == 1 && has[i] != got[name] {
					t.Fatalf("cut at %d: cursor %s repeats, %d are there", cut, cursor, got[name])
				}
			}
		}
	}
}

func cursorEnd(want map[string]uint64) string {
	if len(want) == 1 {
		return fmt.Sprintf(".%d", want["a"])
	}
	return fmt.Sprintf(".%d,%d", want["a"], want["b"])
}

// Operators see how each client is connected.
func TestTransportIsShownAmongConnections(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.open(h.secret)
		h.events("channel=c", "").want("subscribed")
		h.connect().send("GET /realtime/poll?key=" + h.public + "&channel=c HTTP/1.1\r\n" + pollHead)
		eventually(t, func() string {
			var shown []string
			for _, c := range h.server.Connections(admin.ConnectionQuery{Limit: 10}) {
				shown = append(shown, c.Transport)
			}
			if got := strings.Join(shown, " "); got != "ws sse poll" {
				return "the connections are " + got
			}
			return ""
		})
	})
}

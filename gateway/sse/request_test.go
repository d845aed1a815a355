package sse

import (
	"bufio"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/websocket"
)

func TestParseQuery(t *testing.T) {
	for raw, want := range map[string]Query{
		"channel=a":                     {Channels: []string{"a"}, Wait: DefaultWait},
		"channel=a&channel=b&channel=a": {Channels: []string{"a", "b"}, Wait: DefaultWait},
		"channel=a&from=last:3&wait=0":  {Channels: []string{"a"}, From: From{"last", 3}},
		"from=time:17&wait=55":          {From: From{"time", 17}, Wait: MaxWait},
		"from=all&cursor=e.1&key=k&token=t": {
			From: From{Kind: "all"}, Cursor: "e.1", Key: "k", Token: "t", Wait: DefaultWait,
		},
		"channel=%2B%26%C3%A4+x&_=1&channel": {Channels: []string{"+&ä x", ""}, Wait: DefaultWait},
	} {
		got, err := ParseQuery(raw)
		if got.Values = nil; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{
		"channel=%zz", "a;b", "from=x", "from=last", "from=last:", "from=last:-1", "from=live:1",
		"from=time:9007199254740992",
		"wait=56", "wait=-1", "wait=1.5", "wait=x", "cursor=1&cursor=2", "key=1&key=1",
		"token=&token=", "from=all&from=all", "wait=1&wait=1",
	} {
		if q, err := ParseQuery(raw); err == nil {
			t.Errorf("%s: %+v", raw, q)
		}
	}
	if _, err := ParseQuery(strings.Repeat("channel=a&", 100)); err != nil {
		t.Errorf("one channel a hundred times: %v", err)
	}
}

func TestParseHead(t *testing.T) {
	const host = "Host: b.example.com\r\n"
	for head, clean := range map[string]bool{
		"GET /realtime/sse?channel=a HTTP/1.1\r\n" + host:                                          true,
		"GET /realtime/poll HTTP/1.1\r\n" + host + "X-API-Key: k\r\nLast-Event-ID: 1\r\n":          true,
		"GET /realtime/sse HTTP/1.0\r\n" + host:                                                    false,
		"POST /realtime/sse HTTP/1.1\r\n" + host:                                                   false,
		"HEAD /realtime/sse HTTP/1.1\r\n" + host:                                                   false,
		"GET /realtime/sse/ HTTP/1.1\r\n" + host:                                                   false,
		"GET /realtime/sse?channel=a#b HTTP/1.1\r\n" + host:                                        false,
		"GET http://b.example.com/realtime/sse HTTP/1.1\r\n" + host:                                false,
		"GET /realtime/sse HTTP/1.1\r\n":                                                           false,
		"GET /realtime/sse HTTP/1.1\r\n" + host + host:                                             false,
		"GET /realtime/sse HTTP/1.1\r\nHost: a b\r\n":                                              false,
		"GET /realtime/sse HTTP/1.1\r\n" + host + "Content-Length: 1\r\n":                          false,
		"GET /realtime/sse HTTP/1.1\r\n" + host + "Upgrade: websocket\r\n":                         false,
		"GET /realtime/sse HTTP/1.1\r\n" + host + "Origin: https://a\r\nOrigin: https://a\r\n":     false,
		"GET /realtime/sse HTTP/1.1\r\n" + host + "Authorization: Basic x\r\n":                     false,
		"GET /realtime/sse HTTP/1.1\r\n" + host + "Last-Event-ID: 1\r\nLast-Event-ID: 1\r\n":       false,
		"GET /realtime/sse HTTP/1.1\r\n" + host + "Authorization: Bearer x\r\nX-Api-Key: y\r\n":    true, // refused later
		"GET /realtime/sse HTTP/1.1\r\n" + host + "Connection: close\r\nAccept: text/event-stream": true,
	} {
		if _, got := ParseHead(head + "\r\n"); got != clean {
			t.Errorf("%q: %v, want %v", head, got, clean)
		}
	}
	h, _ := ParseHead(
		"GET /realtime/sse?a=b HTTP/1.1\r\nHost: h\r\nAccept: a/b, Text/Event-Stream;q=1\r\nconnection: Close\r\n" +
			"Authorization: bearer  key \r\nSec-Fetch-Site: same-origin\r\nReferer: https://app.example.com:81/x?y\r\n" +
			"X-Forwarded-For: 1.2.3.4\r\n\r\n",
	)
	want := Head{
		Query: "a=b", Host: "h", Origin: "https://app.example.com:81", Bearer: "key", TakesEvents: true, Closes: true,
		ForwardedFor: []string{"1.2.3.4"}, fetch: "same-origin", referrer: "https://app.example.com:81/x?y",
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("%+v", h)
	}
}

// A head that is read on an event loop means the same as when net/http reads it.
func FuzzHead(f *testing.F) {
	f.Add("/realtime/sse?channel=a&from=last:3", "Accept: text/event-stream\r\nOrigin: https://a.example\r\n")
	f.Add("/realtime/poll?channel=a&wait=0&cursor=e.1", "X-Api-Key: k\r\nConnection: close\r\n")
	f.Add(
		"/realtime/sse?channel=%zz",
		"Authorization: Bearer k\r\nLast-Event-ID: e.1\r\nReferer: http://b/c\r\nSec-Fetch-Site: same-origin\r\n",
	)
	f.Fuzz(func(t *testing.T, target, header string) {
		head := "GET " + target + " HTTP/1.1\r\nHost: broker.example.com\r\n" + header + "\r\n"
		reader := websocket.HeadReader{Limit: 8 << 10}
		if _, end, refused := reader.Next([]byte(head)); refused != nil || end != len(head) {
			return
		}
		h, clean := ParseHead(head)
		if !clean {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", head, err)
		}
		if other := HeadOf(r); !reflect.DeepEqual(h, other) {
			t.Errorf("%q is read as %+v and as %+v", head, h, other)
		}
		if q, err := ParseQuery(h.Query); err == nil &&
			(len(q.Channels) > MaxChannels || q.Wait < 0 || q.Wait > MaxWait) {
			t.Errorf("%q: %+v", h.Query, q)
		}
	})
}

func TestAnswerIsHTTP(t *testing.T) {
	now := time.UnixMilli(1764000000000)
	for want, a := range map[string]Answer{
		"200 OK text/event-stream close=true origin=https://a": {Status: 200, Events: true, Origin: "https://a"},
		"200 OK application/json close=false origin=":          {Status: 200, Length: 2, KeepAlive: true},
		"503 Service Unavailable application/json close=true origin=": {
			Status: 503, Length: 2, RetryAfter: 1500 * time.Millisecond,
		},
	} {
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(a.Append(nil, now))+"{}")), nil)
		if err != nil {
			t.Fatal(err)
		}
		head := res.Header
		got := res.Status + " " + head.Get(
			"Content-Type",
		) + " close=" + map[bool]string{true: "true", false: "false"}[res.Close] + " origin=" + head.Get(
			"Access-Control-Allow-Origin",
		)
		if got != want || head.Get("Date") != "Mon, 24 Nov 2025 16:00:00 GMT" ||
			head.Get("Referrer-Policy") != "no-referrer" ||
			(a.RetryAfter > 0) != (head.Get("Retry-After") == "2") {
			t.Errorf("%s: %v", got, head)
		}
	}
}

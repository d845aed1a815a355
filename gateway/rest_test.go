package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func TestPublishOverHTTP(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.MaxMessageBytes = 100 })
	res, body := h.do("POST", "/realtime", ` { "channel":"c", "message": {"a": [1]}, "id":"i1", "extra": true } `,
		"x-api-key", h.secret, "Content-Type", "application/json; charset=UTF-8")
	want := map[string]any{
		"success": true, "error": nil, "channel": "c", "offset": 1.0, "timestamp": body["timestamp"], "id": "i1",
	}
	if res.StatusCode != 200 || fmt.Sprint(body) != fmt.Sprint(want) {
		t.Errorf("got %d %v, want %v", res.StatusCode, body, want)
	}
	if stamp, _ := body["timestamp"].(float64); stamp < 1e12 {
		t.Errorf("timestamp is %v", body["timestamp"])
	}
	// Again with the id in the header: the first answer, and nothing new.
	_, body = h.do("POST", "/realtime", `{"channel":"c","message":2}`,
		"x-api-key", h.secret, "Content-Type", "application/json", "Idempotency-Key", "i1")
	if body["offset"] != 1.0 || body["duplicate"] != true {
		t.Errorf("got %v", body)
	}
	_, body = h.do("GET", "/realtime/history?channel=c", "", "x-api-key", h.secret)
	want = map[string]any{
		"channel": "c", "epoch": "epoch-1", "earliest": 1.0, "offset": 1.0,
		"messages": []any{map[string]any{
			"offset": 1.0, "timestamp": 1.764000000001e12,
			"data": map[string]any{"a": []any{1.0}},
		}},
	}
	if fmt.Sprint(body) != fmt.Sprint(want) {
		t.Errorf("history: got %v, want %v", body, want)
	}
}

func TestRESTRefusals(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.MaxMessageBytes, c.MaxDepth = 100, 4 })
	const good = `{"channel":"c","message":1}`
	secret := []string{"X-Api-Key", h.secret, "Content-Type", "application/json"}
	public := []string{"X-Api-Key", h.public, "Content-Type", "application/json", "Origin", testOrigin}
	with := func(header []string, more ...string) []string { return append(slices.Clone(header), more...) }
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		code               refusal.Code
	}{
		"no key": {"POST", "/realtime", good, secret[2:], 401, refusal.AuthRequired},
		"unknown key": {
			"POST", "/realtime", good, with(secret[2:], "X-Api-Key", auth.NewKeyText(fsm.ServerKey)),
			401, refusal.InvalidKey,
		},
		"mistyped key": {"POST", "/realtime", good, with(secret[2:], "X-Api-Key", "sk_x"), 401, refusal.InvalidKey},
		"public key":   {"POST", "/realtime", good, public, 403, refusal.Forbidden},
		"foreign origin": {
			"GET", "/realtime/history?channel=c", "",
			[]string{"X-Api-Key", h.public, "Origin", "https://evil.example"},
			403, refusal.OriginNotAllowed,
		},
		"repeated key":    {"POST", "/realtime", good, with(secret, "X-Api-Key", h.secret), 400, refusal.InvalidMessage},
		"repeated origin": {"POST", "/realtime", good, with(public, "Origin", testOrigin), 400, refusal.InvalidMessage},
		"no content type": {"POST", "/realtime", good, secret[:2], 415, refusal.InvalidMessage},
		"wrong type": {
			"POST", "/realtime", good, with(secret[:2], "Content-Type", "text/plain"), 415,
			refusal.InvalidMessage,
		},
		"wrong charset": {
			"POST", "/realtime", good,
			with(secret[:2], "Content-Type", "application/json; charset=latin1"), 415, refusal.InvalidMessage,
		},
		"broken":     {"POST", "/realtime", `{"channel":"c","message":1`, secret, 400, refusal.InvalidMessage},
		"two values": {"POST", "/realtime", good + good, secret, 400, refusal.InvalidMessage},
		"not UTF-8": {
			"POST", "/realtime", "{\"channel\":\"c\",\"message\":\"\xff\"}", secret, 400,
			refusal.InvalidMessage,
		},
		"no message": {"POST", "/realtime", `{"channel":"c"}`, secret, 400, refusal.InvalidMessage},
		"no channel": {"POST", "/realtime", `{"message":1}`, secret, 400, refusal.InvalidChannel},
		"case variant": {
			"POST", "/realtime", `{"channel":"c","Message":1,"message":1}`, secret, 400,
			refusal.InvalidMessage,
		},
		"repeated name": {
			"POST", "/realtime", `{"channel":"c","channel":"d","message":1}`, secret, 400,
			refusal.InvalidMessage,
		},
		"too deep": {
			"POST", "/realtime", `{"channel":"c","message":[[[[[]]]]]}`, secret, 400,
			refusal.InvalidMessage,
		},
		"large message": {
			"POST", "/realtime", `{"channel":"c","message":"` + strings.Repeat("x", 99) + `"}`, secret,
			413, refusal.MessageTooLarge,
		},
		"large body": {
			"POST", "/realtime", `{"channel":"c","message":"` + strings.Repeat("x", 10<<10) + `"}`,
			secret, 413, refusal.MessageTooLarge,
		},
		"ids differ": {
			"POST", "/realtime", `{"channel":"c","message":1,"id":"a"}`,
			with(secret, "Idempotency-Key", "b"), 400, refusal.InvalidMessage,
		},
		"long id": {
			"POST", "/realtime", good, with(secret, "Idempotency-Key", strings.Repeat("x", 129)), 400,
			refusal.InvalidMessage,
		},
		"get":              {"GET", "/realtime", "", secret, 405, refusal.InvalidMessage},
		"unknown path":     {"GET", "/nowhere", "", nil, 404, refusal.NotFound},
		"history of what":  {"GET", "/realtime/history", "", public, 400, refusal.InvalidChannel},
		"bad after":        {"GET", "/realtime/history?channel=c&after=-1", "", public, 400, refusal.InvalidMessage},
		"bad limit":        {"GET", "/realtime/history?channel=c&limit=x", "", public, 400, refusal.InvalidMessage},
		"batch not a list": {"POST", "/realtime/batch", `{"messages":1}`, secret, 400, refusal.InvalidMessage},
		"batch too long": {
			"POST", "/realtime/batch", `{"messages":[1` + strings.Repeat(",1", 1000) + `]}`, secret, 400,
			refusal.InvalidMessage,
		},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := h.do(c.method, c.path, c.body, c.header...)
			if res.StatusCode != c.status || body["code"] != string(c.code) || body["success"] != false || body["error"] == "" {
				t.Errorf("got %d %v, want %d %s", res.StatusCode, body, c.status, c.code)
			}
		})
	}
}

func TestFailedAuthsOverHTTPAreLimited(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) {
		c.FailedAuthBurst, c.FailedAuthRate = 2, 1
		c.TrustedProxies = append(c.TrustedProxies, prefix("127.0.0.0/8"))
	})
	try := func(key, from string) int {
		res, _ := h.do("GET", "/realtime/history?channel=c", "", "X-Api-Key", key, "X-Forwarded-For", from)
		if limited := res.StatusCode == 429; limited != (res.Header.Get("Retry-After") != "") {
			t.Errorf("%d with Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
		}
		return res.StatusCode
	}
	for i, want := range []int{401, 401, 429} {
		if got := try(auth.NewKeyText(fsm.ServerKey), "203.0.113.7"); got != want {
			t.Errorf("attempt %d from one address: %d, want %d", i, got, want)
		}
	}
	if got := try(auth.NewKeyText(fsm.ServerKey), "203.0.113.7, 203.0.113.8"); got != 401 {
		t.Errorf("another address: %d", got)
	}
	if got := try(auth.NewKeyText(fsm.ServerKey), "198.51.100.1, 203.0.113.7, 127.0.0.9"); got != 429 {
		t.Errorf("the limited address behind two proxies: %d", got)
	}
	if got := try(h.secret, "203.0.113.7"); got != 200 {
		t.Errorf("a good key from the limited address: %d", got)
	}
	one := auth.NewKeyText(fsm.ServerKey)
	for i, want := range []int{401, 401, 429} {
		if got := try(one, fmt.Sprint("203.0.113.1", i)); got != want {
			t.Errorf("attempt %d with one key: %d, want %d", i, got, want)
		}
	}
}

func TestBatch(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.MaxMessageBytes, c.MaxDepth = 100, 3 })
	res, body := h.do("POST", "/realtime/batch", `{"messages":[
		{"channel":"deep","message":[[[]]]}, {"channel":"deep","message":[[[[]]]]},
		{"channel":"c","message":1,"id":"a"}, {"channel":"","message":2,"id":"b"}, {"channel":"c","message":3},
		{"channel":"c","message":1,"id":"a"}, 7, {"channel":"c","message":"`+strings.Repeat("x", 100)+`"}]}`,
		"X-Api-Key", h.secret, "Content-Type", "application/json")
	if res.StatusCode != 200 {
		t.Fatal(res.Status, body)
	}
	var got []string
	for _, r := range body["results"].([]any) {
		r := r.(map[string]any)
		got = append(got, fmt.Sprint(r["success"], " ", r["code"], " ", r["offset"], " ", r["id"], " ", r["duplicate"]))
	}
	want := []string{
		"true <nil> 1 <nil> <nil>", "false invalid_message 0 <nil> <nil>",
		"true <nil> 1 a <nil>", "false invalid_channel 0 b <nil>", "true <nil> 2 <nil> <nil>",
		"true <nil> 1 a true", "false invalid_message 0 <nil> <nil>", "false message_too_large 0 <nil> <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestHistoryPages(t *testing.T) {
	h := newHarness(t, "portable")
	h.fill("c", 10)
	h.broker.trim(h.channel("c"), 4)
	var got []float64
	for after := 0.0; ; {
		_, body := h.do("GET", fmt.Sprintf("/realtime/history?channel=c&after=%v&limit=3", after), "",
			"X-Api-Key", h.public, "Origin", testOrigin)
		page := body["messages"].([]any)
		if body["earliest"] != 4.0 || body["offset"] != 10.0 {
			t.Errorf("got %v", body)
		}
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			after = m.(map[string]any)["offset"].(float64)
			got = append(got, after)
		}
	}
	if want := []float64{4, 5, 6, 7, 8, 9, 10}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCORS(t *testing.T) {
	h := newHarness(t, "portable")
	for _, path := range []string{"/realtime", "/realtime/batch", "/realtime/history"} {
		res, _ := h.do("OPTIONS", path, "", "Origin", testOrigin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "content-type,x-api-key,idempotency-key")
		allowed := strings.Split(strings.ReplaceAll(res.Header.Get("Access-Control-Allow-Headers"), " ", ""), ",")
		if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != testOrigin ||
			!slices.Contains(allowed, "content-type") || !slices.Contains(allowed, "x-api-key") ||
			!slices.Contains(allowed, "idempotency-key") {
			t.Errorf("%s: got %d %v", path, res.StatusCode, res.Header)
		}
	}
	const path = "/realtime/history?channel=c"
	res, _ := h.do("GET", path, "", "Origin", testOrigin, "X-Api-Key", h.public)
	if res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != testOrigin {
		t.Errorf("allowed origin: %d %v", res.StatusCode, res.Header)
	}
	for _, key := range []string{h.public, h.secret} {
		res, _ = h.do("GET", path, "", "Origin", "https://evil.example", "X-Api-Key", key)
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("foreign origin may read the answer: %q", got)
		}
	}
}

// unopened starts a second server with the same broker, whose Open the test has yet to call.
func (h *harness) unopened(registry *prometheus.Registry) (early *harness, waiting *Server) {
	h.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	cfg := h.server.cfg
	cfg.Listener, cfg.Registry = listener, registry
	waiting, err = New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := waiting.Close(); err != nil {
			h.t.Error(err)
		}
	})
	other := *h
	other.addr = listener.Addr().String()
	return &other, waiting
}

func TestHealthAndReadiness(t *testing.T) {
	h := newHarness(t, "portable")
	early, waiting := h.unopened(nil)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 503, "/realtime": 503, "/admin/v1/status": 503,
		"/": 503,
	} {
		if res, _ := early.do("GET", path, ""); res.StatusCode != want {
			t.Errorf("before Open %s answers %d, want %d", path, res.StatusCode, want)
		}
	}
	waiting.Open()
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/realtime": 405, "/metrics": 404, "/": 302} {
		if res, _ := early.do("GET", path, ""); res.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, res.StatusCode, want)
		}
	}
	if res, _ := h.do("GET", "/metrics", ""); res.StatusCode != 200 {
		t.Errorf("/metrics answers %d", res.StatusCode)
	}
	h.server.Unready()
	if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != 503 {
		t.Errorf("/readyz answers %d when told to", res.StatusCode)
	}
	eventually(t, func() string {
		res, _ := h.do("POST", "/realtime", "{}", "X-Api-Key", h.secret)
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			return fmt.Sprintf("a publish to a draining node: %d", res.StatusCode)
		}
		return ""
	})
}

func TestMemoryChannelsHaveNoOffsets(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		rules := []fsm.Rule{{Pattern: "cursor:*", Durability: fsm.DurabilityMemory, KeepMessages: 1}}
		if _, err := h.broker.UpdateProject(t.Context(), fsm.UpdateProject{ID: testProject, Rules: &rules}); err != nil {
			t.Fatal(err)
		}
		sub, pub := h.open(h.public), h.open(h.secret)
		sub.subscribe("cursor:1", "")
		pub.text(`{"type":"publish","channel":"cursor:1","message":{"x":1}}`)
		if f := pub.want("published"); string(f.Offset) != "0" {
			t.Errorf("got %s", f)
		}
		if f := sub.want("message"); string(f.Offset) != "0" || string(f.Data) != `{"x":1}` || *f.Replay {
			t.Errorf("got %s", f)
		}
	})
}

func TestDrainAnswersPublishesFirst(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		hold := make(chan struct{})
		h.broker.set(func() { h.broker.holdAcks = hold })
		c := h.open(h.secret)
		c.subscribe("c", "")
		c.text(`{"type":"publish","channel":"c","message":1}`)
		c.want("message") // committed, not acknowledged
		drained := make(chan error, 1)
		go func() { drained <- h.server.Drain(t.Context()) }()
		eventually(t, func() string {
			if h.server.available() == nil {
				return "node is still ready"
			}
			return ""
		})
		c.text(`{"type":"publish","channel":"d","message":2}`)
		for f := c.next(); f.Code != refusal.Unavailable; f = c.next() {
			if f.Type == "published" || f.close != 0 {
				t.Fatalf("got %s", f)
			}
		}
		c.text(`{"type":"publish","channel":"c","message":3}`)
		c.text(`{"type":"publish","channel":"d","message":4}`)
		c.want("error") // of 4, so 3 was seen and waits for 1
		close(hold)
		c.want("published")
		if f := c.want("error"); *f.Channel != "c" || f.Code != refusal.Unavailable {
			t.Errorf("got %s", f)
		}
		for f := c.next(); f.close != closeRestart; f = c.next() {
			if f.eof {
				t.Fatal("ended without a close")
			}
		}
		c.send(string(clientFrame(8, true, nil)))
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if res, _ := h.do("GET", "/realtime", "", "Connection", "Upgrade", "Upgrade", "websocket",
			"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="); res.StatusCode != 503 {
			t.Errorf("an upgrade while draining: %d", res.StatusCode)
		}
	})
}

func TestDrainGivesUp(t *testing.T) {
	h := newHarness(t, "portable")
	hold := make(chan struct{})
	h.broker.set(func() { h.broker.holdAcks = hold })
	defer close(hold)
	c := h.open(h.secret)
	c.text(`{"type":"publish","channel":"c","message":1}`)
	eventually(t, func() string {
		if info, _ := h.broker.Channel(t.Context(), h.channel("c")); info.Head != 1 {
			return "not committed"
		}
		return ""
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.server.Drain(ctx); err == nil {
		t.Error("drained with a publish unanswered")
	}
}

func TestUpgradeAfterAnotherRequest(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.connect()
		c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		_ = res.Body.Close()
		c.send(upgradeHead + "\r\n")
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
			t.Fatal(res, err)
		}
		c.text(`{"type":"auth","apiKey":%q}`, h.secret)
		c.want("auth_success")
	})
}

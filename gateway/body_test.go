package gateway

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompressedBodies(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.MaxMessageBytes, c.MaxBatchBytes = 1000, 20_000 })
	const good = `{"channel":"c","message":"hello"}`
	bomb := gzipped(t, `{"channel":"c","message":"`+strings.Repeat("x", 64<<20)+`"}`)
	for name, c := range map[string]struct {
		path, coding, body string
		status             int
		code               refusal.Code
	}{
		"gzip":       {"/realtime", "gzip", gzipped(t, good), 200, ""},
		"other case": {"/realtime", " GZip", gzipped(t, good), 200, ""},
		"old name":   {"/realtime", "x-gzip", gzipped(t, good), 200, ""},
		"identity":   {"/realtime", "identity", good, 200, ""},
		"batch": {
			"/realtime/batch", "gzip", gzipped(t, `{"messages":[`+good+strings.Repeat(","+good, 99)+`]}`),
			200, "",
		},
		"bomb":            {"/realtime", "gzip", bomb, 413, refusal.MessageTooLarge},
		"bomb in a batch": {"/realtime/batch", "gzip", bomb, 413, refusal.MessageTooLarge},
		"not gzip":        {"/realtime", "gzip", good, 400, refusal.InvalidMessage},
		"cut short":       {"/realtime", "gzip", gzipped(t, good)[:20], 400, refusal.InvalidMessage},
		"not UTF-8": {
			"/realtime", "gzip", gzipped(t, "{\"channel\":\"c\",\"message\":\"\xff\"}"), 400,
			refusal.InvalidMessage,
		},
		"brotli": {"/realtime", "br", good, 415, refusal.InvalidMessage},
		"twice":  {"/realtime", "gzip, gzip", gzipped(t, gzipped(t, good)), 415, refusal.InvalidMessage},
	} {
		res, answer := h.do("POST", c.path, c.body, "X-Api-Key", h.secret, "Content-Type", "application/json",
			"Content-Encoding", c.coding)
		if code, _ := answer["code"].(string); res.StatusCode != c.status || code != string(c.code) {
			t.Errorf("%s: %s %v, want %d %s", name, res.Status, answer, c.status, c.code)
		}
		if known := res.Header.Get("Accept-Encoding"); (known == "gzip") != (c.status == 415) {
			t.Errorf("%s: Accept-Encoding %q", name, known)
		}
	}
	status, answer := h.admin("POST", "/projects", "")
	if status != 400 {
		t.Fatalf("no body: %d %v", status, answer)
	}
	res, answer := h.do("POST", "/admin/v1/projects", gzipped(t, `{"name":"small"}`),
		"Authorization", "Bearer "+adminToken, "Content-Type", "application/json", "Content-Encoding", "gzip")
	if res.StatusCode != 201 || answer["name"] != "small" {
		t.Errorf("admin API: %s %v", res.Status, answer)
	}
}

// post begins a publish whose body has n bytes.
func (h *harness) post(n int) *client {
	h.t.Helper()
	c := h.connect()
	c.send(fmt.Sprintf("POST /realtime HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\n\r\n", h.secret, n))
	return c
}

func (c *client) wantResponse(status int) *http.Response {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatalf("no answer, want %d: %v", status, err)
	}
	if res.StatusCode != status {
		body, _ := io.ReadAll(res.Body)
		c.t.Fatalf("%s %s, want %d", res.Status, body, status)
	}
	return res
}

// A body may come slowly for as long as it comes, and is given up when it does not.
func TestDeadlineOfABodyFollowsItsProgress(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.BodyTimeout = 2 * time.Second })
		body := `{"channel":"c","message":"` + strings.Repeat("x", 40<<10) + `"}`
		slow := h.post(len(body))
		began := time.Now()
		for rest := body; rest != ""; {
			piece := rest[:min(len(rest), 2<<10)]
			rest = rest[len(piece):]
			slow.send(piece)
			time.Sleep(h.server.cfg.BodyTimeout / 15) // it is the pace that is tested
		}
		if time.Since(began) < h.server.cfg.BodyTimeout {
			t.Fatalf("took only %v", time.Since(began))
		}
		if answer, err := io.ReadAll(slow.wantResponse(200).Body); err != nil ||
			!strings.Contains(string(answer), `"success":true`) {
			t.Fatalf("%q, %v", answer, err)
		}
		// The connection goes on.
		slow.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		slow.wantResponse(200)

		still := h.post(len(body))
		still.send(body[:100])
		res := still.wantResponse(408)
		answer, err := io.ReadAll(res.Body)
		if want := `{"success":false,"error":"body did not come in time","code":"request_timeout"}` + "\n"; err != nil ||
			string(answer) != want {
			t.Errorf("%q, %v", answer, err)
		}
		if found, err := h.server.Refusals(refusal.Query{Code: refusal.RequestTimeout, Limit: 9}); err != nil ||
			len(found) != 1 {
			t.Errorf("refusals %v, %v", found, err)
		}
	})
}

// A body of one byte now and then keeps nobody for long.
func TestTricklingBodyIsGivenUp(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.BodyTimeout = 300 * time.Millisecond })
	c := h.post(1 << 10)
	go func() {
		for range 1 << 10 {
			if _, err := io.WriteString(c.socket, " "); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // the pace of a client that stretches its body
		}
	}()
	c.wantResponse(408)
}

// What nobody reads keeps nobody either.
func TestUnreadBodyIsGivenUp(t *testing.T) {
	h := newHarness(t, "epoll", func(c *Config) { c.BodyTimeout = 300 * time.Millisecond })
	for _, path := range []string{"/nowhere", "/realtime"} {
		c := h.connect()
		c.send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 404 && res.StatusCode != 401 {
			t.Fatalf("%s: %v, %v", path, res, err)
		}
		_, _ = io.Copy(io.Discard, c.in) // until it is closed
	}
	h.noPendingConns()
}

// A request that takes longer than its body may is not given up for it.
func TestLongRequestOutlivesTheTimeOfItsBody(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.BodyTimeout = 100 * time.Millisecond })
	hold := make(chan struct{})
	h.broker.set(func() { h.broker.holdAcks = hold })
	const body = `{"channel":"c","message":1}`
	c := h.post(len(body))
	c.send(body)
	eventually(t, func() string {
		if info, _ := h.broker.Channel(t.Context(), h.channel("c")); info.Head != 1 {
			return "not committed"
		}
		return ""
	})
	time.Sleep(3 * h.server.cfg.BodyTimeout) // that long it takes
	close(hold)
	c.wantResponse(200)
}

func TestConnectionsAreKeptForTheBalancersTime(t *testing.T) {
	h := newHarness(t, "portable")
	// Google's load balancers keep a connection for 600 s.
	if d := h.server.http.IdleTimeout; d <= 600*time.Second || d != DefaultLimits().KeepAliveTimeout {
		t.Errorf("kept for %v", d)
	}
	h = newHarness(t, "portable", func(c *Config) { c.KeepAliveTimeout = 50 * time.Millisecond })
	c := h.connect()
	c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	c.wantResponse(200)
	if rest, err := io.ReadAll(c.in); err != nil || !strings.HasSuffix(string(rest), "ok\n") {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestIdempotencyKey(t *testing.T) {
	for field, want := range map[string]string{
		"": "", "abc": "abc", `"abc"`: "abc", `"a\"b\\c"`: `a"b\c`, `"`: `"`, `"a`: `"a`, `a"b"`: `a"b"`,
		`"a"b"`: `"a"b"`, `"a\x"`: `"a\x"`,
		strings.Repeat("x", 128): strings.Repeat("x", 128), `"` + strings.Repeat("x", 128) + `"`: strings.Repeat("x", 128),
	} {
		if got, refused := idempotencyKey([]string{field}); refused != nil || got != want {
			t.Errorf("%s is %q, %v", field, got, refused)
		}
	}
	for _, fields := range [][]string{{`""`}, {"a", "a"}, {strings.Repeat("x", 129)}, {"\xff"}} {
		if got, refused := idempotencyKey(fields); refused == nil {
			t.Errorf("%q is %q", fields, got)
		}
	}
	h := newHarness(t, "portable")
	for i, key := range []string{`once`, `"once"`} {
		_, answer := h.do("POST", "/realtime", `{"channel":"c","message":1}`,
			"X-Api-Key", h.secret, "Content-Type", "application/json", "Idempotency-Key", key)
		if answer["id"] != "once" || answer["offset"] != 1.0 || (answer["duplicate"] == true) != (i == 1) {
			t.Errorf("%s: %v", key, answer)
		}
	}
}

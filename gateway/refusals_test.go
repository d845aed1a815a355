package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unique"
	"unsafe"

	"github.com/aptlyd/aptlyd/fsm"
)

// lastRefusal is the newest one that matches.
func (h *harness) lastRefusal(q RefusalQuery) RefusalRecord {
	h.t.Helper()
	q.Limit = 1
	found, err := h.server.Refusals(q)
	if err != nil || len(found) != 1 {
		h.t.Fatalf("refusals %+v: %+v, %v", q, found, err)
	}
	return found[0]
}

// An operator sees of each refusal who it was and which rule refused.
func TestRefusalsExplain(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.change(func(p *fsm.Project) {
			p.AllowedOrigins = []string{"https://a.example", "https://b.example", testOrigin}
			p.Access.Subscribe = []string{"news"}
		})
		public, _ := h.broker.Key(h.public)
		c := h.dial("Origin: https://x\r\n")
		c.text(`{"type":"auth","apiKey":%q}`, h.public)
		if f := c.wantError(CodeOriginNotAllowed); f.Error != "origin https://x is not allowed" {
			t.Errorf("the client is told %q", f.Error)
		}
		got := h.lastRefusal(RefusalQuery{Code: CodeOriginNotAllowed})
		want := RefusalRecord{
			At: got.At, Seq: got.Seq, Node: "node-under-test", Via: "ws", Code: CodeOriginNotAllowed,
			Reason: "origin https://x is not allowed", Detail: "origin https://x is not in the project's 3 allowed origins",
			Address: "127.0.0.1", Origin: "https://x", KeyID: public.ID, KeyPrefix: h.public[:8], Project: testProject, Action: "connect",
		}
		if got != want || time.Since(time.UnixMilli(got.At)) > patience {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}

		c = h.open(h.public)
		c.text(`{"type":"subscribe","channel":"staff"}`)
		c.wantForbidden("staff")
		got = h.lastRefusal(RefusalQuery{Project: testProject, KeyID: public.ID})
		if got.Code != CodeForbidden || got.Channel != "staff" || got.Action != "subscribe" ||
			got.Detail != "a public key may not subscribe here: none of the project's 1 patterns for public keys matches channel staff" {
			t.Errorf("got %+v", got)
		}

		if res, _ := h.do("POST", "/realtime", `{"channel":"c","message":1}`, "X-Api-Key", h.public, "Origin", testOrigin, "Content-Type", "application/json"); res.StatusCode != 403 {
			t.Errorf("got %d", res.StatusCode)
		}
		if got = h.lastRefusal(RefusalQuery{}); got.Via != "rest" || got.Channel != "c" || got.Action != "publish" || got.Origin != testOrigin {
			t.Errorf("got %+v", got)
		}
		mistyped := h.secret[:20] + "?" + h.secret[21:]
		h.do("GET", "/realtime/history?channel=c", "", "X-Api-Key", mistyped)
		if got = h.lastRefusal(RefusalQuery{Code: CodeInvalidKey}); got.KeyPrefix != mistyped[:8] || strings.Contains(fmt.Sprint(got), mistyped[8:]) {
			t.Errorf("got %+v", got)
		}
		h.do("GET", "/admin/v1/status", "", "Authorization", "Bearer not-a-token")
		if got = h.lastRefusal(RefusalQuery{}); got.Via != "admin" || got.Code != CodeInvalidKey || strings.Contains(fmt.Sprint(got), "not-a-token") {
			t.Errorf("got %+v", got)
		}

		// The admin API shows them page by page.
		var seen []string
		cursor := ""
		for {
			_, answer := h.admin("GET", "/refusals?limit=2&cursor="+cursor, "")
			for _, r := range answer["refusals"].([]any) {
				seen = append(seen, fmt.Sprint(r.(map[string]any)["seq"]))
			}
			if cursor, _ = answer["next"].(string); cursor == "" {
				break
			}
		}
		if want := []string{"4", "3", "2", "1", "0"}; !slices.Equal(seen, want) {
			t.Errorf("listed %q, want %q", seen, want)
		}
		if status, _ := h.admin("GET", "/refusals?cursor=x", ""); status != 400 {
			t.Errorf("a malformed cursor gets %d", status)
		}
	})
}

// However many there are and whatever is in them, the last thousand are kept and
// no more memory than they need.
func TestRefusalsAreBounded(t *testing.T) {
	h := newHarness(t, "")
	long := strings.Repeat("€", 1<<20)
	from := peer{address: long, origin: unique.Make(long), host: unique.Make("")}
	const total = 5 * keptRefusals / 2
	for range total {
		r := &Refusal{Code: CodeForbidden, Reason: long, detail: long}
		h.server.refused(r.of(principal{key: long, prefix: long, project: long}, toPublish, long), "ws", from)
	}
	all, err := h.server.Refusals(RefusalQuery{Limit: 10 * keptRefusals})
	if err != nil || len(all) != keptRefusals {
		t.Fatalf("%d are kept, %v", len(all), err)
	}
	for i, r := range all {
		if r.Seq != uint64(total-1-i) {
			t.Fatalf("number %d is refusal %d", i, r.Seq)
		}
		for _, text := range []string{r.Reason, r.Detail, r.Address, r.Origin, r.KeyID, r.KeyPrefix, r.Project, r.Channel} {
			if len(text) > maxRecordedText || unsafe.StringData(text) == unsafe.StringData(long) || !strings.HasSuffix(text, "€…") {
				t.Fatalf("%d bytes are kept: %q", len(text), text)
			}
		}
	}
}

// What reads as a cursor is one: it comes out as it went in.
func FuzzRefusalCursor(f *testing.F) {
	f.Add((&RefusalRecord{At: 1_764_000_000_000, Seq: 17, Node: "n.1"}).Cursor())
	f.Add("1.2.")
	f.Add("-1.+2.n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRefusalCursor(text)
		if err == nil && r.Cursor() != text {
			t.Errorf("%q reads as %q", text, r.Cursor())
		}
	})
}

func BenchmarkRefused(b *testing.B) {
	s := &Server{cfg: Config{Broker: &fakeBroker{}}}
	s.metrics, _ = newMetrics(nil, "")
	from := newPeer("192.0.2.1", testOrigin, "broker.example.com")
	r := &Refusal{Code: CodeForbidden, Reason: "no", detail: "not at all"}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			s.refused(r, "ws", from)
		}
	})
}

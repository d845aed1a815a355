package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// lastRefusal is the newest one that matches.
func (h *harness) lastRefusal(q refusal.Query) refusal.Record {
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
		if f := c.wantError(refusal.OriginNotAllowed); f.Error != "origin https://x is not allowed" {
			t.Errorf("the client is told %q", f.Error)
		}
		got := h.lastRefusal(refusal.Query{Code: refusal.OriginNotAllowed})
		want := refusal.Record{
			At: got.At, Seq: got.Seq, Node: "node-under-test", Via: "ws", Code: refusal.OriginNotAllowed,
			Reason: "origin https://x is not allowed", Detail: "origin https://x is not in the project's 3 allowed origins",
			Address: "127.0.0.1", Origin: "https://x",
			Attempt: refusal.Attempt{KeyID: public.ID, KeyPrefix: h.public[:8], Project: testProject, Action: "connect"},
		}
		if got != want || time.Since(time.UnixMilli(got.At)) > patience {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}

		c = h.open(h.public)
		c.text(`{"type":"subscribe","channel":"staff"}`)
		c.wantForbidden("staff")
		got = h.lastRefusal(refusal.Query{Project: testProject, KeyID: public.ID})
		if got.Code != refusal.Forbidden || got.Channel != "staff" || got.Action != "subscribe" ||
			got.Detail != "a public key may not subscribe here: none of the project's 1 patterns for public keys matches "+
				"channel staff" {
			t.Errorf("got %+v", got)
		}

		if res, _ := h.do("POST", "/realtime", `{"channel":"c","message":1}`, "X-Api-Key", h.public, "Origin", testOrigin,
			"Content-Type", "application/json"); res.StatusCode != 403 {
			t.Errorf("got %d", res.StatusCode)
		}
		if got = h.lastRefusal(refusal.Query{}); got.Via != "rest" || got.Channel != "c" || got.Action != "publish" ||
			got.Origin != testOrigin {
			t.Errorf("got %+v", got)
		}
		mistyped := h.secret[:20] + "?" + h.secret[21:]
		h.do("GET", "/realtime/history?channel=c", "", "X-Api-Key", mistyped)
		if got = h.lastRefusal(refusal.Query{Code: refusal.InvalidKey}); got.KeyPrefix != mistyped[:8] ||
			strings.Contains(fmt.Sprint(got), mistyped[8:]) {
			t.Errorf("got %+v", got)
		}
		h.do("GET", "/admin/v1/status", "", "Authorization", "Bearer not-a-token")
		if got = h.lastRefusal(refusal.Query{}); got.Via != "admin" || got.Code != refusal.InvalidKey ||
			strings.Contains(fmt.Sprint(got), "not-a-token") {
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

func BenchmarkRefused(b *testing.B) {
	s := &Server{cfg: Config{Broker: &fakeBroker{}}}
	s.metrics, _ = newMetrics(nil, "")
	from := newPeer("192.0.2.1", testOrigin, "broker.example.com")
	r := &refusal.Error{Code: refusal.Forbidden, Reason: "no", Detail: "not at all"}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			s.refused(r, "ws", from)
		}
	})
}

package gateway

import (
	"fmt"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/quota"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/traffic"
)

// A quota of subscriptions counts those of all connections and nodes, however they
// end, and a node has a bound of its own.
func TestSubscriptionsAreBounded(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.MaxSubscriptions = 5 })
		h.change(func(p *fsm.Project) { p.Quotas = fsm.Quotas{Subscriptions: 3} })
		refused := func(c *client) {
			t.Helper()
			c.text(`{"type":"subscribe","channel":"one too many"}`)
			c.wantLimited()
		}
		used := func(want int) {
			t.Helper()
			eventually(t, func() string {
				if used := h.server.Usage()[testProject].Subscriptions; used != want {
					return fmt.Sprintf("%d subscriptions are counted, not %d", used, want)
				}
				return ""
			})
		}
		first, second := h.open(h.public), h.open(h.public)
		first.subscribe("a", "")
		first.subscribe("b", "")
		second.subscribe("a", "")
		first.subscribe("a", "") // again: no other one
		refused(first)
		refused(second)
		first.text(`{"type":"unsubscribe","channel":"b"}`)
		first.want("unsubscribed")
		used(2)
		second.subscribe("c", "")
		second.socket.Close()
		used(1)

		h.server.DivideQuotas([]map[string]quota.Usage{{testProject: {Subscriptions: 1}}, {testProject: {Subscriptions: 1}}})
		refused(first)
		h.server.DivideQuotas([]map[string]quota.Usage{{testProject: {Subscriptions: 1}}})
		first.subscribe("d", "")

		h.change(func(p *fsm.Project) { p.Quotas = fsm.Quotas{} })
		third := h.open(h.secret)
		for i := range 3 {
			third.subscribe(fmt.Sprint(i), "")
		}
		refused(third)
		refused(first)
	})
}

// A quota of subscriptions refuses the whole request of a stream.
func TestStreamsBeyondAQuotaOfSubscriptions(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.change(func(p *fsm.Project) { p.Quotas = fsm.Quotas{Subscriptions: 1} })
		for _, channels := range []string{"channel=a&channel=b", "channel=a&channel=b&channel=c"} {
			e := h.events(channels, "")
			if got := e.next(); got.kind != "error" || got.frame.Code != refusal.RateLimited || got.retry != "2000" {
				t.Errorf("got %s", got)
			}
			e.wantEnd()
		}
		h.open(h.public).subscribe("taken", "")
		h.events("channel=a", "").want("error")
		res := h.request("/realtime/poll?channel=a&key="+h.public, "Origin: "+testOrigin+"\r\n")
		if res.StatusCode != 429 {
			t.Errorf("a poll gets %s", res.Status)
		}
	})
}

// What clients do is counted for their project, whichever way they do it.
func TestTrafficIsCountedByProject(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		reader := h.open(h.public)
		reader.subscribe("news", "")
		writer := h.open(h.secret)
		writer.text(`{"type":"publish","channel":"news","message":1}`)
		writer.want("published")
		h.do("POST", "/realtime", `{"channel":"news","message":2}`, "x-api-key", h.secret, "Content-Type", "application/json")
		reader.want("message")
		reader.want("message")
		reader.text(`{"type":"publish","channel":"news","message":3}`)
		reader.want("error")
		want := traffic.Counts{Opened: 2, Publishes: 2, Deliveries: 2, Refusals: 1}
		eventually(t, func() string {
			open, counts := h.server.Traffic()
			if open[testProject] != 2 || counts[testProject] != want || len(counts) != 1 {
				return fmt.Sprintf("open %v, counted %+v", open, counts)
			}
			return ""
		})
		reader.socket.Close()
		eventually(t, func() string {
			if open, _ := h.server.Traffic(); open[testProject] != 1 {
				return fmt.Sprintf("open %v", open)
			}
			return ""
		})
	})
}

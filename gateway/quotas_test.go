package gateway

import (
	"fmt"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/quota"
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

package gateway

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/quota"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// slowly is a rate of one a second, five at once: a test is over before the next
// one is due.
const slowly = 1

func (h *harness) tokenClient(more string) *client {
	h.t.Helper()
	c := h.dial("")
	c.text(`{"type":"auth","apiKey":%q}`, h.token(h.secret, time.Hour, more))
	c.want("auth_success")
	c.want("connected")
	return c
}

const everywhere = `,"channels":{"*":["subscribe","publish","history"]}`

func (c *client) publishes(n int) {
	c.t.Helper()
	for range n {
		c.text(`{"type":"publish","channel":"c","message":1}`)
		c.want("published")
	}
}

func (c *client) wantLimited() {
	c.t.Helper()
	if f := c.wantError(refusal.RateLimited); f.RetryAfter <= 0 || f.RetryAfter > 1000 {
		c.t.Errorf("got %s", f)
	}
}

func (h *harness) postStatus(key string) int {
	res, _ := h.do("POST", "/realtime", `{"channel":"c","message":1}`, "X-Api-Key", key, "Content-Type",
		"application/json")
	if (res.StatusCode == 429) != (res.Header.Get("Retry-After") == "1") {
		h.t.Errorf("%d with Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	return res.StatusCode
}

func TestConnectionRates(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.ConnectionPublish, c.ConnectionSubscribe, c.MaxChannels = slowly,
				slowly, 8
		})
		c, other, backend := h.tokenClient(everywhere), h.tokenClient(everywhere), h.open(h.secret)
		for _, each := range []*client{c, other} {
			each.publishes(5)
			each.text(`{"type":"publish","channel":"c","message":1}`)
			each.wantLimited()
		}
		backend.publishes(20)
		// A client that comes back may have all its channels at once.
		for i := range 8 {
			c.subscribe(fmt.Sprint("d", i), "")
		}
		c.text(`{"type":"subscribe","channel":"d1"}`)
		c.wantLimited()
		c.text(`{"type":"auth","apiKey":"a.b.c"}`)
		c.wantLimited()

		// Over HTTP an address with a key stands for a connection.
		token := h.token(h.secret, time.Hour, everywhere)
		for range 5 {
			if got := h.postStatus(token); got != 200 {
				t.Errorf("got %d", got)
			}
		}
		if got := h.postStatus(token); got != 429 {
			t.Errorf("a sixth gets %d", got)
		}
		if got := h.postStatus(h.secret); got != 200 {
			t.Errorf("a server key gets %d", got)
		}
	})
}

func TestKeyAndAddressRates(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.KeyPublish, c.AddressConnect, c.KeySubscribe = slowly, slowly, slowly
			c.TrustedProxies = []netip.Prefix{prefix("127.0.0.0/8")}
		})
		one, two, other := h.open(h.secret), h.open(h.secret), h.open(h.broker.addKey(testProject, fsm.ServerKey))
		one.publishes(3)
		two.publishes(2)
		one.text(`{"type":"publish","channel":"c","message":1}`)
		one.wantLimited()
		if got := h.postStatus(h.secret); got != 429 {
			t.Errorf("over HTTP: %d", got)
		}
		other.publishes(5)
		for i := range 5 {
			one.subscribe(fmt.Sprint("d", i), "")
		}
		two.text(`{"type":"subscribe","channel":"d"}`)
		two.wantLimited()

		from := "Origin: " + testOrigin + "\r\nX-Forwarded-For: 192.0.2."
		for range 5 {
			c := h.dial(from + "1\r\n")
			c.text(`{"type":"auth","apiKey":%q}`, h.public)
			c.want("auth_success")
		}
		c := h.dial(from + "1\r\n")
		c.text(`{"type":"auth","apiKey":%q}`, h.public)
		c.wantClose(1013) // without an error, which clients take for the last word
		c = h.dial(from + "2\r\n")
		c.text(`{"type":"auth","apiKey":%q}`, h.public)
		c.want("auth_success")
		if r := h.lastRefusal(refusal.Query{Code: refusal.RateLimited}); r.Address != "192.0.2.1" ||
			r.Action != "connect" || r.Detail != "too much at once from this address: 1 a second are allowed, 5 at once" {
			t.Errorf("got %+v", r)
		}
	})
}

func TestQuotas(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.change(func(p *fsm.Project) { p.Quotas = fsm.Quotas{Connections: 3, PublishRate: 4} })
		admit := func() *client {
			c := h.dial("")
			c.text(`{"type":"auth","apiKey":%q}`, h.secret)
			return c
		}
		first := h.open(h.secret)
		h.server.DivideQuotas([]map[string]quota.Usage{{testProject: {Connections: 1}}, {"another": {Connections: 7}}})
		second := h.open(h.secret)
		admit().wantClose(1013)
		if r := h.lastRefusal(refusal.Query{}); r.Detail != "the project's quota is 3 connections: 2 are here, 1 on other "+
			"nodes" {
			t.Errorf("got %+v", r)
		}
		second.socket.Close()
		eventually(t, func() string {
			if used := h.server.Usage()[testProject]; used.Connections != 1 {
				return fmt.Sprintf("usage is %+v", used)
			}
			return ""
		})
		admit().want("auth_success")

		first.publishes(4)
		first.text(`{"type":"publish","channel":"c","message":1}`)
		first.wantLimited()
		if got := h.postStatus(h.secret); got != 429 {
			t.Errorf("over HTTP: %d", got)
		}
		if !h.server.MeasureUsage() || h.server.Usage()[testProject].PublishRate <= 0 {
			t.Errorf("usage is %+v", h.server.Usage())
		}
		h.change(func(p *fsm.Project) { p.Quotas = fsm.Quotas{} })
		first.publishes(10)
		if h.server.MeasureUsage() {
			t.Error("others are asked of projects without quotas")
		}
	})
}

func TestDisconnect(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c, stays := h.open(h.secret), h.open(h.public)
		k, _ := h.broker.Key(h.secret)
		found := h.server.Connections(admin.ConnectionQuery{KeyID: k.ID, Limit: 10})
		if len(found) != 1 {
			t.Fatalf("%d connections", len(found))
		}
		if status, answer := h.admin("DELETE", "/connections/"+found[0].ID, ""); status != 204 {
			t.Errorf("got %d %v", status, answer)
		}
		c.wantClose(4009)
		if status, _ := h.admin("DELETE", "/connections/"+found[0].ID, ""); status != 404 {
			t.Errorf("a second time: %d", status)
		}
		stays.wantSilence()
	})
}

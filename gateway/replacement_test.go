package gateway

import (
	"encoding/json"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/quota"
)

// authenticate connects a client with fields in its auth frame and returns its
// connection's id, or the close code where it is refused.
func (h *harness) authenticate(key, fields string) (c *client, id string, refused closeCode) {
	h.t.Helper()
	c = h.dial("Origin: " + testOrigin + "\r\n")
	c.text(`{"type":"auth","apiKey":%q%s}`, key, fields)
	f := c.next()
	if f.close != 0 {
		return c, "", f.close
	}
	var connected struct{ ConnectionID string }
	if err := json.Unmarshal([]byte(c.want("connected").raw), &connected); err != nil {
		h.t.Fatal(err)
	}
	return c, connected.ConnectionID, 0
}

func (h *harness) quota(connections, subscriptions int) {
	h.change(func(p *fsm.Project) {
		p.Quotas = fsm.Quotas{Connections: connections, Subscriptions: subscriptions}
	})
}

func TestAConnectionAndItsReplacementCountAsOne(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.quota(1, 2)
		usage := func(want quota.Usage) {
			t.Helper()
			eventually(t, func() string {
				if got := h.server.Usage()[testProject]; got != want {
					text, _ := json.Marshal(got)
					return "used are " + string(text)
				}
				return ""
			})
		}
		old, id, _ := h.authenticate(h.secret, "")
		old.subscribe("a", "")
		old.subscribe("b", "")
		usage(quota.Usage{Connections: 1, Subscriptions: 2})
		for _, fields := range []string{"", `,"replaces":"000000000000000000000001"`, `,"replaces":"?"`} {
			if _, _, refused := h.authenticate(h.secret, fields); refused != closeTryLater {
				t.Errorf("with %q: close %d", fields, refused)
			}
		}
		if _, _, refused := h.authenticate(h.public, `,"replaces":"`+id+`"`); refused != closeTryLater {
			t.Errorf("of another principal: close %d", refused)
		}
		next, second, refused := h.authenticate(h.secret, `,"replaces":"`+id+`"`)
		if refused != 0 {
			t.Fatalf("close %d", refused)
		}
		next.subscribe("a", "")
		next.subscribe("b", "")
		usage(quota.Usage{Connections: 1, Subscriptions: 2})
		// Neither may have its place taken again.
		for _, taken := range []string{id, second} {
			if _, _, refused := h.authenticate(h.secret, `,"replaces":"`+taken+`"`); refused != closeTryLater {
				t.Errorf("a third connection: close %d", refused)
			}
		}
		old.send(string(clientFrame(8, true, []byte{3, 232})))
		old.next()
		usage(quota.Usage{Connections: 1, Subscriptions: 2})
		// One that stays is counted again after a while.
		next.send(string(clientFrame(8, true, []byte{3, 232})))
		next.next()
		usage(quota.Usage{})
	})
}

// The two are counted as two once the time is over.
func TestReplacedConnectionIsCountedAgain(t *testing.T) {
	h := newHarness(t, "portable")
	h.quota(5, 5)
	old, id, _ := h.authenticate(h.secret, "")
	old.subscribe("a", "")
	h.authenticate(h.secret, `,"replaces":"`+id+`"`)
	if got := h.server.Usage()[testProject]; got.Connections != 1 || got.Subscriptions != 0 {
		t.Errorf("used are %+v", got)
	}
	h.server.ask(func(l *loop) func() {
		for _, c := range l.conns {
			c.countAgain()
		}
		return func() {}
	})
	if got := h.server.Usage()[testProject]; got.Connections != 2 || got.Subscriptions != 1 {
		t.Errorf("used are %+v", got)
	}
}

// The other connection may be on another node, whose usage is known as of a moment ago.
func TestReplacementOfAConnectionElsewhere(t *testing.T) {
	h := newHarness(t, "portable")
	h.quota(3, 9)
	h.server.DivideQuotas(nil)
	h.authenticate(h.secret, "")
	h.server.DivideQuotas([]map[string]quota.Usage{{testProject: {Connections: 2, Subscriptions: 4}}})
	if _, _, refused := h.authenticate(h.secret, `,"replaces":"x"`); refused != closeTryLater {
		t.Errorf("nobody knows the connection: close %d", refused)
	}
	h.broker.set(func() { h.broker.replaced = 3 })
	if _, _, refused := h.authenticate(h.secret, `,"replaces":"x"`); refused != 0 {
		t.Errorf("close %d", refused)
	}
	if _, _, refused := h.authenticate(h.secret, ""); refused != closeTryLater {
		t.Errorf("one too many: close %d", refused)
	}
}

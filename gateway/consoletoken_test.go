package gateway

import (
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func TestConsoleTokenReadsOneProject(t *testing.T) {
	h := newHarness(t, "portable")
	status, answer := h.admin("POST", "/projects/"+testProject+"/console-token", "")
	text, _ := answer["token"].(string)
	if life := int64(answer["expiresAt"].(float64)) - h.broker.Stamp(); status != 200 || life <= 0 ||
		life > admin.ConsoleTokenLife.Milliseconds() {
		t.Fatalf("got %d %v, %d ms ahead", status, answer, life)
	}
	h.fill("news", 2)
	c := h.open(text)
	c.subscribe("news", "")
	c.wantMessages("news", 1, 2, true)
	c.text(`{"type":"publish","channel":"news","message":1}`)
	c.wantError(refusal.Forbidden)
	if status, _ := h.admin("POST", "/projects/none/console-token", ""); status != 404 {
		t.Errorf("a token for no project: %d", status)
	}
}

// A console token is worth nothing without the session that asked for it: its
// connections are closed when that ends, and it opens no others.
func TestConsoleTokenLivesWithItsSession(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		stays := h.open(h.consoleToken(&browser{h: h}))
		stays.subscribe("news", "")
		for name, end := range map[string]func(b *browser){
			"sign-out":     func(b *browser) { b.wantStatus(204, "DELETE", "/console/session", "") },
			"sign-in anew": func(b *browser) { b.signIn(adminToken) },
			"revoked unheard of": func(b *browser) {
				h.broker.set(func() { delete(h.broker.admins, b.cookie.Value) })
				h.server.Reset()
			},
		} {
			b := &browser{h: h}
			text := h.consoleToken(b)
			c := h.open(text)
			c.subscribe("news", "")
			end(b)
			if refused := c.wantError(refusal.KeyRevoked); refused.Error != "the console session has ended" {
				t.Errorf("%s: told %v", name, refused)
			}
			c.wantClose(closeFinal)
			again := h.dial("")
			again.text(`{"type":"auth","apiKey":%q}`, text)
			again.wantError(refusal.TokenInvalid)
		}
		stays.subscribe("more", "")
	})
}

// A session that this node has not heard of yet is asked for.
func TestConsoleTokenOfASessionMadeElsewhere(t *testing.T) {
	h := newHarness(t, "portable")
	b := &browser{h: h}
	text := h.consoleToken(b)
	var session fsm.AdminToken
	h.broker.set(func() {
		session = h.broker.admins[b.cookie.Value]
		delete(h.broker.admins, b.cookie.Value)
	})
	h.broker.onCatchUp(func() { h.broker.set(func() { h.broker.admins[b.cookie.Value] = session }) })
	h.open(text).subscribe("news", "")
	if rounds := h.broker.rounds(); rounds != 1 {
		t.Errorf("the cluster was asked %d times", rounds)
	}
}

// consoleToken signs in and gets a console token of the test's project.
func (h *harness) consoleToken(b *browser) string {
	h.t.Helper()
	b.signIn(adminToken)
	res, answer := b.call("POST", "/admin/v1/projects/"+testProject+"/console-token", "")
	if res.StatusCode != 200 {
		h.t.Fatalf("console token: %s %v", res.Status, answer)
	}
	return answer["token"].(string)
}

package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/internal/testtoken"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// setAccess changes what public keys of the test project may do, and tells.
func (h *harness) setAccess(access fsm.Access) {
	h.t.Helper()
	h.change(func(p *fsm.Project) { p.Access = access })
}

// change changes the test project as a committed command does.
func (h *harness) change(change func(p *fsm.Project)) {
	h.broker.set(func() {
		next := *h.broker.projects[testProject]
		change(&next)
		h.broker.projects[testProject] = &next
	})
	h.server.ProjectChanged(testProject)
}

// wantForbidden expects that a channel is refused or taken away.
func (c *client) wantForbidden(channel string) {
	c.t.Helper()
	if f := c.wantError(refusal.Forbidden); f.Channel == nil || *f.Channel != channel {
		c.t.Fatalf("got %s, want it about %s", f, channel)
	}
}

func TestTokenOverWebSocket(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		token := h.token(h.secret, time.Minute, someChannels)
		// No origin rule concerns it.
		c := h.dial("Origin: https://elsewhere.example\r\n")
		c.text(`{"type":"auth","apiKey":%q}`, token)
		c.want("auth_success")
		c.want("connected")
		c.subscribe("chat:1", "")
		c.text(`{"type":"publish","channel":"chat:1","message":1}`)
		c.want("published")
		c.wantMessages("chat:1", 1, 1, false)
		c.subscribe("news", "")
		c.text(`{"type":"publish","channel":"news","message":1}`)
		c.wantForbidden("news")
		c.text(`{"type":"subscribe","channel":"private"}`)
		c.wantForbidden("private")
		c.text(`{"type":"subscribe","channel":"log"}`)
		c.wantForbidden("log")

		// Less than before: what is no longer allowed is taken away.
		c.text(`{"type":"auth","apiKey":%q}`, h.token(h.secret, time.Minute, `,"channels":{"news":["subscribe"]}`))
		c.want("auth_success")
		c.wantForbidden("chat:1")
		h.fill("chat:1", 1)
		h.fill("news", 1)
		c.wantMessages("news", 1, 1, false)
		c.text(`{"type":"publish","channel":"chat:1","message":1}`)
		c.wantForbidden("chat:1")

		// A refused refresh leaves everything as it is.
		other := h.broker.addKey("prj-other", fsm.ServerKey)
		h.broker.set(func() { h.broker.projects["prj-other"] = &fsm.Project{ID: "prj-other"} })
		for _, refused := range []struct {
			text string
			code refusal.Code
		}{
			{h.token(h.secret, -time.Minute, someChannels), refusal.TokenExpired},
			{testtoken.SwapPart(token, 1, "{}"), refusal.TokenInvalid},
			{h.token(other, time.Minute, someChannels), refusal.Forbidden},
			{h.token(h.secret, time.Minute, someChannels+`,"origins":["https://app.example.com"]`), refusal.OriginNotAllowed},
			{auth.NewKeyText(fsm.PublicKey), refusal.InvalidKey},
			{"", refusal.AuthRequired},
		} {
			c.text(`{"type":"auth","apiKey":%q}`, refused.text)
			c.wantError(refused.code)
		}
		h.fill("news", 1)
		c.wantMessages("news", 2, 2, false)

		// The end of the key is the end of its tokens.
		h.broker.endKey(h.secret)
		c.wantError(refusal.KeyRevoked)
		c.wantClose(1000)
	})
}

func TestTokenIsRefusedWithItsOwnCode(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		fresh := h.token(h.secret, time.Minute, someChannels)
		own := h.token(h.secret, time.Minute, someChannels+`,"origins":["https://shop.example"]`)
		for name, c := range map[string]struct {
			text, origin string
			code         refusal.Code // "": let in
			status       int
		}{
			"good":    {fresh, "", "", 200},
			"expired": {h.token(h.secret, -time.Minute, someChannels), "", refusal.TokenExpired, 401},
			"forged":  {testtoken.SwapPart(fresh, 1, "{}"), "", refusal.TokenInvalid, 401},
			"none":    {testtoken.SwapPart(fresh, 0, `{"alg":"none"}`), "", refusal.TokenInvalid, 401},
			"unknown key": {testtoken.Mint(testtoken.Header, h.broker.claimsOf("key-none", time.Minute, someChannels),
				[]byte("x")), "", refusal.TokenInvalid, 401},
			"its origin":    {own, "https://shop.example", "", 200},
			"not its own":   {own, testOrigin, refusal.OriginNotAllowed, 403},
			"origin wanted": {own, "", refusal.OriginNotAllowed, 403},
		} {
			header := ""
			if c.origin != "" {
				header = "Origin: " + c.origin + "\r\n"
			}
			conn := h.dial(header)
			conn.text(`{"type":"auth","apiKey":%q}`, c.text)
			if c.code == "" {
				conn.want("auth_success")
			} else {
				conn.wantError(c.code)
				conn.wantClose(1000)
			}
			headers := []string{"X-Api-Key", c.text}
			if c.origin != "" {
				headers = append(headers, "Origin", c.origin)
			}
			res, body := h.do("GET", "/realtime/history?channel=log", "", headers...)
			if code, _ := body["code"].(string); res.StatusCode != c.status || refusal.Code(code) != c.code {
				t.Errorf("%s: got %d %v over HTTP", name, res.StatusCode, body)
			}
		}
	})
}

func TestTokenOverHTTP(t *testing.T) {
	h := newHarness(t, "")
	token := h.token(h.secret, time.Minute, someChannels)
	post := func(path, body string) (int, map[string]any) {
		res, answer := h.do("POST", path, body, "X-Api-Key", token, "Content-Type", "application/json")
		return res.StatusCode, answer
	}
	if status, answer := post("/realtime", `{"channel":"chat:1","message":1}`); status != 200 {
		t.Errorf("publish where it may: %d %v", status, answer)
	}
	if status, answer := post("/realtime", `{"channel":"news","message":1}`); status != 403 ||
		answer["code"] != "forbidden" {
		t.Errorf("publish where it may not: %d %v", status, answer)
	}
	_, answer := post("/realtime/batch", `{"messages":[{"channel":"chat:1","message":1},{"channel":"news","message":1}]}`)
	results := answer["results"].([]any)
	if first, second := results[0].(map[string]any), results[1].(map[string]any); first["success"] != true ||
		second["code"] != "forbidden" {
		t.Errorf("batch: %v", results)
	}
	for channel, want := range map[string]int{"log": 200, "chat:1": 403, "elsewhere": 403} {
		if res, answer := h.do("GET", "/realtime/history?channel="+channel, "", "X-Api-Key", token); res.StatusCode != want {
			t.Errorf("history of %s: %d %v", channel, res.StatusCode, answer)
		}
	}
}

// A token ends by the cluster's time, unless a fresh one comes before.
func TestTokenExpires(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		short := h.token(h.secret, -auth.Leeway+time.Second, `,"channels":{"c":["subscribe"]}`)
		ends, stays := h.dial(""), h.dial("")
		for _, c := range []*client{ends, stays} {
			c.text(`{"type":"auth","apiKey":%q}`, short)
			c.want("auth_success")
			c.want("connected")
			c.subscribe("c", "")
		}
		stays.text(`{"type":"auth","apiKey":%q}`, h.token(h.secret, time.Hour, `,"channels":{"c":["subscribe"]}`))
		stays.want("auth_success")
		ends.wantError(refusal.TokenExpired)
		ends.wantClose(1000)
		h.fill("c", 1)
		stays.wantMessages("c", 1, 1, false)
	})
}

// A token signed a moment ago with a key of another node's works after one
// catch-up, on a live connection too.
func TestTokenOfUnknownKeyCatchesUp(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.dial("")
		c.text(`{"type":"auth","apiKey":%q}`, h.token(h.secret, time.Minute, someChannels))
		c.want("auth_success")
		c.want("connected")

		next := h.broker.addKey(testProject, fsm.ServerKey)
		token := h.token(next, time.Minute, someChannels)
		key, _ := h.broker.Key(next)
		h.broker.set(func() { delete(h.broker.keys, next) })
		appear := func() {
			h.broker.set(func() { h.broker.keys[next] = key })
		}
		h.broker.onCatchUp(appear)
		c.text(`{"type":"auth","apiKey":%q}`, token)
		c.text(`{"type":"subscribe","channel":"chat:1"}`)
		c.want("auth_success")
		c.want("subscribed")
		h.broker.endKey(h.secret) // no longer its key
		c.wantSilence()
		h.broker.endKey(next)
		c.wantError(refusal.KeyRevoked)

		h.broker.onCatchUp(appear)
		if res, answer := h.do("GET", "/realtime/history?channel=log", "", "X-Api-Key", token); res.StatusCode != 200 {
			t.Errorf("got %d %v", res.StatusCode, answer)
		}
		if n := h.broker.rounds(); n != 2 {
			t.Errorf("the leader was asked %d times", n)
		}
	})
}

func TestPrivateChannels(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		public, server := h.open(h.public), h.open(h.secret)
		for _, c := range []*client{public, server} {
			c.subscribe("news", "")
			c.subscribe("staff:1", "")
		}
		public.text(`{"type":"publish","channel":"cursor:1","message":1}`)
		public.wantForbidden("cursor:1")

		h.setAccess(fsm.Access{
			Subscribe: []string{"news", "cursor:*"},
			Publish:   []fsm.PublishGrant{{Pattern: "cursor:*", Rate: 0.1, Burst: 2}, {Pattern: "vote", Rate: 0.1, Burst: 1}},
		})
		public.wantForbidden("staff:1")
		h.fill("staff:1", 1)
		server.wantMessages("staff:1", 1, 1, false)
		h.fill("news", 1)
		public.wantMessages("news", 1, 1, false)
		server.wantMessages("news", 1, 1, false)
		public.text(`{"type":"subscribe","channel":"staff:1"}`)
		public.wantForbidden("staff:1")
		public.subscribe("cursor:1", "")

		// Each grant has a rate of its own.
		for offset := range uint64(2) {
			public.text(`{"type":"publish","channel":"cursor:1","message":1}`)
			public.want("published")
			public.wantMessages("cursor:1", offset+1, offset+1, false)
		}
		public.text(`{"type":"publish","channel":"cursor:1","message":1,"id":"i"}`)
		if f := public.wantError(refusal.RateLimited); f.RetryAfter < 1000 || f.ID != "i" {
			t.Errorf("got %s", f)
		}
		public.text(`{"type":"publish","channel":"vote","message":1}`)
		public.want("published")
		h.open(h.public).text(`{"type":"publish","channel":"vote","message":1}`)

		post := func(channel string) int {
			res, _ := h.do("POST", "/realtime", fmt.Sprintf(`{"channel":%q,"message":1}`, channel),
				"X-Api-Key", h.public, "Origin", testOrigin, "Content-Type", "application/json")
			return res.StatusCode
		}
		for i, want := range []int{200, 200, 429} {
			if got := post("cursor:2"); got != want {
				t.Errorf("publish %d over HTTP: %d, want %d", i, got, want)
			}
		}
		if got := post("staff:1"); got != 403 {
			t.Errorf("publish to a private channel: %d", got)
		}
		if res, _ := h.do("GET", "/realtime/history?channel=staff:1", "", "X-Api-Key", h.public, "Origin",
			testOrigin); res.StatusCode != 403 {
			t.Errorf("history of a private channel: %d", res.StatusCode)
		}

		h.setAccess(fsm.Access{Subscribe: []string{}})
		public.wantForbidden("news")
		public.wantForbidden("cursor:1")
		public.wantSilence()
	})
}

// A channel that is taken away while a subscribe to it is under way is refused
// once.
func TestAccessEndsWhileSubscribing(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.open(h.public)
		asked, goOn := make(chan struct{}), make(chan struct{})
		h.broker.onCatchUp(func() {
			close(asked)
			<-goOn
		})
		c.text(`{"type":"subscribe","channel":"c","fromOffset":7}`)
		<-asked
		h.setAccess(fsm.Access{Subscribe: []string{}})
		close(goOn)
		c.wantForbidden("c")
		h.fill("c", 1)
		c.wantSilence()
	})
}

// A key is known to be in use when somebody shows it, or a token that it signed,
// and as long as they stay.
func TestUseOfKeysIsNoted(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.Heartbeat = 20 * time.Millisecond })
		noted := func(text string) {
			t.Helper()
			key, _ := h.broker.Key(text)
			eventually(t, func() string {
				h.broker.mu.Lock()
				defer h.broker.mu.Unlock()
				if !slices.Contains(h.broker.used, key.ID) {
					return "the use of a key is not noted"
				}
				h.broker.used = nil
				return ""
			})
		}
		h.open(h.public)
		noted(h.public)
		noted(h.public) // with the next heartbeat
		h.do("GET", "/realtime/history?channel=c", "", "X-Api-Key", h.secret)
		noted(h.secret)
		h.tokenClient(someChannels)
		noted(h.secret)
	})
}

// However many subscriptions there are, a change of rights reaches each, a part of them in
// a turn.
func TestRightsOfManySubscriptions(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.Loops = 1 })
		const each = 900
		var clients []*client
		for range 2*subscriptionsPerTurn/each + 1 {
			c := h.open(h.public)
			for i := range each {
				c.text(`{"type":"subscribe","channel":"%c:%d"}`, 'a'+i%2, i)
			}
			for range each {
				c.want("subscribed")
			}
			clients = append(clients, c)
		}
		h.change(func(p *fsm.Project) { p.Access.Subscribe = []string{"b:*"} })
		for _, c := range clients {
			for range each / 2 {
				if f := c.wantError(refusal.Forbidden); f.Channel == nil || !strings.HasPrefix(*f.Channel, "a:") {
					t.Fatalf("got %s", f)
				}
			}
			c.text(`{"type":"subscribe","channel":"b:1"}`) // is still there, and nothing comes before
			c.want("subscribed")
		}
	})
}

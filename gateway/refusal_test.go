package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func TestWebSocketRefusals(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.MaxMessageBytes, c.MaxChannels, c.MaxDepth, c.CloseGrace = 100, 3, 5, 20*time.Millisecond
		})
		for _, c := range []struct {
			frame   string
			code    refusal.Code
			channel string
			id      string
		}{
			{
				`{"type":"publish","channel":"c","message":1,"id":"` + strings.Repeat("x", 129) + `"}`, refusal.InvalidMessage,
				"c", strings.Repeat("x", 129),
			},
			{`{"type":"publish","channel":"c","message":1,"id":7}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"publish","channel":"c","id":"i"}`, refusal.InvalidMessage, "c", "i"},
			{
				`{"type":"publish","channel":"c","message":"` + strings.Repeat("x", 99) + `","id":"i"}`,
				refusal.MessageTooLarge, "c", "i",
			},
			{`{"type":"publish","channel":"c","message":[[[[[[]]]]]]}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"publish","message":[[[[[[]]]]]],"channel":"c","id":"i"}`, refusal.InvalidMessage, "c", "i"},
			{`{"type":"publish","message":[[[[[[}]]]]],"channel":"c","id":"i"}`, refusal.InvalidMessage, "", ""},
			{`{"type":"publish","channel":"c","CHANNEL":"d","message":1}`, refusal.InvalidMessage, "", ""},
			{`{"type":"publish","channel":"c","\u0063hannel":"d","message":1}`, refusal.InvalidMessage, "", ""},
			{`{"type":"publish","channel":"c","\u004dessage":2,"message":1}`, refusal.InvalidMessage, "", ""},
			{`{"type":"publish","message":1}`, refusal.InvalidChannel, "", ""},
			{`{"type":"publish","channel":"","message":1}`, refusal.InvalidChannel, "", ""},
			{`{"type":"publish","channel":"a\u0000","message":1}`, refusal.InvalidChannel, "a\x00", ""},
			{`{"type":"subscribe","channel":"a\u0000"}`, refusal.InvalidChannel, "a\x00", ""},
			{`{"type":"publish","channel":"a\ud800","message":1}`, refusal.InvalidChannel, "", ""},
			{`{"type":"publish","channel":7,"message":1}`, refusal.InvalidChannel, "", ""},
			{`{"type":"publish","channel":"","message":1,"id":"i"}`, refusal.InvalidChannel, "", "i"},
			{`{"type":"publish","id":"i","channel":"a\u0000","message":1}`, refusal.InvalidChannel, "a\x00", "i"},
			{`{"type":"publish","channel":7,"message":1,"id":"i"}`, refusal.InvalidChannel, "", "i"},
			{`{"type":"publish","channel":7,"message":1,"id":8}`, refusal.InvalidChannel, "", ""},
			{
				`{"type":"publish","channel":"` + strings.Repeat("x", 256) + `"}`, refusal.MessageTooLarge, "",
				"",
			}, // over twice the limit: see below
			{`{"type":"subscribe","channel":"c","fromOffset":"1"}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"subscribe","channel":"c","fromOffset":-1}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"subscribe","channel":"c","fromOffset":1.5}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"subscribe","channel":"c","from":"then"}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"subscribe","channel":"c","from":{"last":1,"time":2}}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"subscribe","channel":"c","from":{"last":-1}}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"subscribe","channel":"c","epoch":1}`, refusal.InvalidMessage, "c", ""},
			{`{"type":"auth","apiKey":"` + h.secret + `"}`, refusal.InvalidMessage, "", ""},
			{`{"type":"shout"}`, refusal.UnknownType, "", ""},
			{`{"type":"heartbeat"`, refusal.InvalidMessage, "", ""},
			{`{"type":"heartbeat"} {}`, refusal.InvalidMessage, "", ""},
			{`"heartbeat"`, refusal.InvalidMessage, "", ""},
			{``, refusal.InvalidMessage, "", ""},
		} {
			conn := h.open(h.secret)
			conn.text("%s", c.frame)
			f := conn.wantError(c.code)
			if f.Channel != nil && *f.Channel != c.channel || f.Channel == nil && c.channel != "" || f.ID != c.id {
				t.Errorf("%s: got %s", c.frame, f)
			}
			if len(c.frame) > 200 && c.code == refusal.MessageTooLarge {
				conn.wantClose(1009)
				continue
			}
			conn.wantSilence() // it stays
		}

		public := h.open(h.public)
		public.text(`{"type":"publish","channel":"c","message":1,"id":"i"}`)
		if f := public.wantError(refusal.Forbidden); f.ID != "i" || *f.Channel != "c" {
			t.Errorf("got %s", f)
		}
		for i := range 3 {
			public.subscribe(fmt.Sprint("c", i), "")
		}
		public.text(`{"type":"subscribe","channel":"one more"}`)
		public.wantError(refusal.TooManyChannels)
		public.subscribe("c0", "") // one that it has
		// The answers come in the order of the requests.
		all := h.open(h.secret)
		for i := range 5 {
			all.text(`{"type":"subscribe","channel":"all-%d"}`, i)
		}
		for range 3 {
			all.want("subscribed")
		}
		all.wantError(refusal.TooManyChannels)
		all.wantError(refusal.TooManyChannels)
		public.text(`{"type":"unsubscribe","channel":"c0"}`)
		public.want("unsubscribed")
		public.subscribe("one more", "")
	})
}

func TestRefusalsOfTheBroker(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.open(h.secret)
		for _, want := range []*refusal.Error{
			{Code: refusal.RateLimited, Reason: "slower", RetryAfter: 1500 * time.Millisecond},
			{Code: refusal.Unavailable, Reason: "no quorum", RetryAfter: time.Second},
			{Code: refusal.OutcomeUnknown, Reason: "perhaps"},
		} {
			h.broker.set(func() { h.broker.publishErr = fmt.Errorf("wrapped: %w", want) })
			c.text(`{"type":"publish","channel":"c","message":1,"id":"i"}`)
			if f := c.wantError(want.Code); f.ID != "i" || f.RetryAfter != want.RetryAfter.Milliseconds() {
				t.Errorf("got %s", f)
			}
			res, body := h.do("POST", "/realtime", `{"channel":"c","message":1}`, "X-Api-Key", h.secret, "Content-Type",
				"application/json")
			if res.StatusCode != want.Code.HTTPStatus() || body["code"] != string(want.Code) {
				t.Errorf("%s: got %d %v", want.Code, res.StatusCode, body)
			}
			if wait := res.Header.Get("Retry-After"); (wait == "") != (want.Code == refusal.OutcomeUnknown) {
				t.Errorf("%s: Retry-After is %q", want.Code, wait)
			}
		}
		h.broker.set(func() { h.broker.publishErr = fmt.Errorf("disk on fire") })
		c.text(`{"type":"publish","channel":"c","message":1}`)
		if f := c.wantError(refusal.Internal); strings.Contains(f.Error, "fire") {
			t.Errorf("an internal error tells: %s", f)
		}
		h.broker.set(func() { h.broker.channelErr = fmt.Errorf("disk on fire") })
		c.text(`{"type":"subscribe","channel":"c"}`)
		c.wantError(refusal.Internal)
		h.broker.set(func() { h.broker.channelErr = nil })
		c.subscribe("c", "")

		// A cursor that cannot read cannot move on, nor be skipped.
		h.fill("d", 1)
		h.broker.set(func() { h.broker.readHook = func(fsm.ChannelKey) error { return fmt.Errorf("disk on fire") } })
		c.subscribe("d", "")
		c.wantError(refusal.Internal)
		c.wantClose(1013)
	})
}

func TestBeforeAuth(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		for _, text := range []string{
			`{"type":"subscribe","channel":"c"}`, `hello`, `{"type":"auth"}`, `{"type":"auth","apiKey":""}`,
			`{"type":"auth","apiKey":1}`,
			`{"type":"auth","apiKey":"a","APIKEY":"b"}`, `{}`,
		} {
			c := h.dial("")
			c.text("%s", text)
			c.wantError(refusal.AuthRequired)
			c.wantClose(1008)
		}
		for _, key := range []string{"pk_", h.public[:42] + "!", "sk_" + h.public[3:42] + "?", strings.Repeat("x", 43)} {
			c := h.dial("Origin: " + testOrigin + "\r\n")
			c.text(`{"type":"auth","apiKey":%q}`, key)
			c.wantError(refusal.InvalidKey)
		}
		if h.broker.rounds() != 0 {
			t.Error("the leader was asked about a key that is not well formed")
		}
	})
}

// A key made a moment ago on another node works after one catch-up, and what
// the client sent behind its auth frame is not lost.
func TestUnknownKeyCatchesUpOnce(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		text := auth.NewKeyText(fsm.ServerKey)
		h.broker.set(func() {
			h.broker.catchUp = func(context.Context) error {
				h.broker.set(func() { h.broker.putKey(testProject, fsm.ServerKey, "new", text) })
				return nil
			}
		})
		c := h.dial("")
		authFrame := clientFrame(ws.OpText, true, fmt.Appendf(nil, `{"type":"auth","apiKey":%q}`, text))
		more := clientFrame(ws.OpText, true, []byte(`{"type":"subscribe","channel":"c"}`))
		c.send(string(authFrame) + string(more))
		c.want("auth_success")
		c.want("connected")
		c.want("subscribed")

		h.broker.set(func() {
			h.broker.catchUp = func(context.Context) error { return fmt.Errorf("no leader") }
		})
		d := h.dial("")
		d.text(`{"type":"auth","apiKey":%q}`, auth.NewKeyText(fsm.ServerKey))
		d.wantClose(1013)
	})
}

func TestPipelinedBehindTheHandshake(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.connect()
		auth := clientFrame(ws.OpText, true, fmt.Appendf(nil, `{"type":"auth","apiKey":%q}`, h.secret))
		c.send(upgradeHead + "\r\n" + string(auth))
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
			t.Fatal(res, err)
		}
		c.want("auth_success")
	})
}

func TestRevokedWithBacklogIsReset(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace, c.SendBufferBytes = 50*time.Millisecond, 8<<10 })
		key := h.broker.addKey(testProject, fsm.ServerKey)
		c := h.open(key)
		c.subscribe("c", "")
		big := `"` + strings.Repeat("x", 60<<10) + `"`
		for range 100 { // more than the kernel holds
			h.broker.append(h.channel("c"), big)
		}
		eventually(t, func() string {
			if all := h.server.Connections(admin.ConnectionQuery{Limit: 10}); len(all) != 1 || all[0].State != "catching_up" {
				return fmt.Sprintf("connections: %+v", all)
			}
			return ""
		})
		h.broker.endKey(key)
		eventually(t, func() string {
			if n := h.server.ConnectionCount(); n != 0 {
				return fmt.Sprintf("%d connections left", n)
			}
			return ""
		})
	})
}

func TestOriginTakenAwayClosesItsClients(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		public, server := h.open(h.public), h.open(h.secret)
		none := []string{}
		if _, err := h.broker.UpdateProject(t.Context(),
			fsm.UpdateProject{ID: testProject, AllowedOrigins: &none}); err != nil {
			t.Fatal(err)
		}
		public.wantError(refusal.OriginNotAllowed)
		public.wantClose(1000)
		server.wantSilence()
		if err := h.broker.DeleteProject(t.Context(), fsm.Actor{}, testProject); err != nil {
			t.Fatal(err)
		}
		server.wantError(refusal.KeyRevoked)
		server.wantClose(1000)
	})
}

func TestStaleNodeClosesItsClients(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		c := h.open(h.public)
		c.subscribe("c", "")
		h.broker.set(func() { h.broker.staleness = RefuseAfter + time.Millisecond })
		h.fill("c", 1)
		c.wantMessages("c", 1, 1, false)
		if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("readyz is %d on a stale node", res.StatusCode)
		}
		h.broker.set(func() { h.broker.staleness = CloseAfter + time.Millisecond })
		h.fill("c", 1) // must not be delivered
		c.wantClose(1013)
	})
}

func TestResetJudgesEverybodyAnew(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
		key := h.broker.addKey(testProject, fsm.ServerKey)
		ended, stays := h.open(key), h.open(h.secret)
		console := h.open(h.consoleToken(&browser{h: h}))
		stays.subscribe("c", "")
		h.broker.set(func() {
			delete(h.broker.keys, key)
			for i := range 3 { // as a snapshot brings them: nobody is told
				h.broker.put(h.channel("c"), "", fmt.Appendf(nil, "%d", i))
			}
		})
		h.server.Reset()
		ended.wantError(refusal.KeyRevoked)
		ended.wantClose(1000)
		console.wantSilence()
		stays.wantMessages("c", 1, 3, false)
		h.broker.append(h.channel("c"), `4`)
		stays.wantMessages("c", 4, 4, false)

		h.broker.set(func() { h.broker.epoch = "epoch-2" })
		h.server.Reset()
		stays.wantClose(1012)
	})
}

func TestEveryCodeHasAnAnswer(t *testing.T) {
	for _, code := range []refusal.Code{
		refusal.InvalidKey, refusal.KeyRevoked, refusal.OriginNotAllowed, refusal.AuthRequired, refusal.AuthTimeout,
		refusal.RateLimited,
		refusal.Unavailable, refusal.OutcomeUnknown, refusal.Forbidden, refusal.InvalidMessage, refusal.InvalidChannel,
		refusal.UnknownType,
		refusal.MessageTooLarge, refusal.TooManyChannels, refusal.NotFound, refusal.Conflict, refusal.Internal,
		refusal.TokenInvalid, refusal.TokenExpired,
	} {
		if code.HTTPStatus() == 0 {
			t.Errorf("%s has no HTTP status", code)
		}
	}
}

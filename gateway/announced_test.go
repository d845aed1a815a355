package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// announce connects a client that announces something with the fields of its auth frame.
func (h *harness) announce(fields string) *client {
	h.t.Helper()
	c := h.dial("Origin: " + testOrigin + "\r\n")
	c.text(`{"type":"auth","apiKey":%q,%s}`, h.secret, fields)
	c.want("auth_success")
	c.want("connected")
	return c
}

func TestSDKIsShownAmongConnections(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.announce(`"features":["goaway","of the future"],"sdk":"@aptlyd/brook/1.2.3"`)
		h.open(h.secret)
		var sdks []string
		for _, c := range h.server.Connections(admin.ConnectionQuery{Limit: 10}) {
			sdks = append(sdks, c.SDK)
		}
		if got := fmt.Sprintf("%q", sdks); got != `["@aptlyd/brook/1.2.3" ""]` {
			t.Errorf("the connections are of %s", got)
		}
	})
}

func TestMalformedAnnouncementIsRefused(t *testing.T) {
	h := newHarness(t, "portable")
	for _, fields := range []string{
		`"features":"goaway"`, `"features":[1]`, `"features":{}`, `"features":[` +
			strings.Repeat(`"a",`, protocol.MaxFeatures) + `"a"]`,
		`"sdk":1`, `"sdk":"a b"`, `"sdk":"ü"`, fmt.Sprintf(`"sdk":%q`, strings.Repeat("a", protocol.MaxSDK+1)),
	} {
		c := h.dial("Origin: " + testOrigin + "\r\n")
		c.text(`{"type":"auth","apiKey":%q,%s}`, h.secret, fields)
		if f := c.wantError(refusal.AuthRequired); f.Error == "authenticate first" {
			t.Errorf("%s: the reason is %q", fields, f.Error)
		}
		c.wantClose(1008)
	}
}

func TestPingIsAnsweredFiveTimesASecond(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.announce(`"features":["ping"]`)
		answered, refused := 0, 0
		for i := range 20 {
			c.text(`{"type":"ping","id":"probe %d"}`, i)
			f := c.next()
			if f.ID != fmt.Sprintf("probe %d", i) {
				t.Fatalf("got %s", f)
			}
			switch {
			case f.Type == "pong":
				answered++
			case f.Code == refusal.RateLimited && f.RetryAfter > 0:
				refused++
			default:
				t.Fatalf("got %s", f)
			}
		}
		if answered < 5 || refused == 0 {
			t.Errorf("%d of 20 pings were answered, %d refused", answered, refused)
		}
		for _, id := range []string{
			"", `,"id":""`, `,"id":1`,
			fmt.Sprintf(`,"id":%q`, strings.Repeat("a", protocol.MaxPingID+1)),
		} {
			c.text(`{"type":"ping"%s}`, id)
			c.wantError(refusal.InvalidMessage)
		}
	})
}

func TestStrictSubscribeIsAllOrNothing(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("c", 10)
		h.broker.trim(h.channel("c"), 4)
		epoch := h.broker.Epoch()
		for _, tt := range []struct {
			start string
			first uint64 // message that comes first, 11 for none; 0: unrecoverable
		}{
			{`"fromOffset":3`, 4},
			{`"fromOffset":10`, 11},
			{fmt.Sprintf(`"fromOffset":5,"epoch":%q`, epoch), 6},
			{`"from":"live","fromOffset":1`, 11},
			{`"fromOffset":2`, 0}, // retention took 3
			{`"fromOffset":0`, 0},
			{`"from":"all"`, 0},
			{fmt.Sprintf(`"fromOffset":0,"epoch":%q`, epoch), 0},
			{`"fromOffset":11`, 0}, // above the committed head
			{`"fromOffset":5,"epoch":"another"`, 0},
			{`"fromOffset":0,"epoch":"another"`, 0},
		} {
			c := h.announce(`"features":["strict"]`)
			c.text(`{"type":"subscribe","channel":"c","strict":true,%s}`, tt.start)
			if tt.first != 0 {
				if f := c.want("subscribed"); f.offset() != 10 {
					t.Errorf("%s: %s", tt.start, f)
				}
				c.wantMessages("c", tt.first, 10, true)
				continue
			}
			f := c.wantError(refusal.Unrecoverable)
			if *f.Channel != "c" || f.offset() != 10 || f.Earliest != 4 || f.Epoch != epoch {
				t.Errorf("%s: %s", tt.start, f)
			}
			c.text(`{"type":"publish","channel":"other","message":1}`)
			c.want("published")
			c.wantSilence()
			// It may begin elsewhere on the same connection.
			c.text(`{"type":"subscribe","channel":"c","strict":true,"fromOffset":9}`)
			c.want("subscribed")
			c.wantMessages("c", 10, 10, true)
		}
		c := h.announce(`"features":["strict"]`)
		c.text(`{"type":"subscribe","channel":"c","strict":1}`)
		c.wantError(refusal.InvalidMessage)
		// Nothing was ever published there, so nothing is missing.
		c.text(`{"type":"subscribe","channel":"empty","strict":true,"fromOffset":0}`)
		c.want("subscribed")
	})
}

// A subscription that is there stays when a strict one of the same channel is refused.
func TestRefusedStrictSubscribeLeavesTheOneBefore(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("c", 3)
		h.broker.trim(h.channel("c"), 3)
		c := h.announce(`"features":["strict"]`)
		c.subscribe("c", `,"from":"live"`)
		c.text(`{"type":"subscribe","channel":"c","strict":true,"fromOffset":1}`)
		c.wantError(refusal.Unrecoverable)
		h.broker.append(h.channel("c"), `4`)
		c.wantMessages("c", 4, 4, false)
	})
}

// The offset of a client that comes from a node that is ahead is looked for first.
func TestStrictSubscribeAsksTheClusterFirst(t *testing.T) {
	h := newHarness(t, "portable")
	h.fill("c", 3)
	h.broker.set(func() {
		h.broker.catchUp = func(context.Context) error {
			h.broker.append(h.channel("c"), `4`, `5`)
			return nil
		}
	})
	c := h.announce(`"features":["strict"]`)
	c.text(`{"type":"subscribe","channel":"c","strict":true,"fromOffset":4}`)
	c.want("subscribed")
	c.wantMessages("c", 5, 5, true)
}

package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Every limit of docs/protocol.md "Every refusal" is answered as it says there,
// and counted.
func TestEveryLimitHasItsAnswerAndMetric(t *testing.T) {
	const short = 100 * time.Millisecond
	refusedSeries := func(code refusal.Code, via string) []string {
		return []string{"aptlyd_refusals_total", string(code), via}
	}
	closed := func(code closeCode) []string { return []string{"aptlyd_closes_total", fmt.Sprint(code)} }
	publish := func(message string) string {
		return fmt.Sprintf(`{"type":"publish","channel":"c","message":%s}`, message)
	}
	status := func(c *client, want int) {
		c.t.Helper()
		if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != want {
			c.t.Errorf("got %v, %v, want %d", res, err, want)
		}
	}
	post := func(h *harness, path, body string, want int) {
		h.t.Helper()
		res, _ := h.do("POST", path, body, "X-Api-Key", h.secret, "Content-Type", "application/json")
		if res.StatusCode != want {
			h.t.Errorf("got %d, want %d", res.StatusCode, want)
		}
	}
	for _, limit := range []struct {
		name   string
		set    func(*Config)
		breach func(h *harness)
		counts [][]string // metric and labels, each one higher
		epoll  bool       // net/http answers by itself with the portable poller
	}{
		{"message", func(c *Config) { c.MaxMessageBytes = 100 }, func(h *harness) {
			c := h.open(h.secret)
			c.text("%s", publish(`"`+strings.Repeat("x", 99)+`"`))
			c.wantError(refusal.MessageTooLarge)
			c.wantSilence()
		}, [][]string{refusedSeries(refusal.MessageTooLarge, "ws")}, false},
		{"message over HTTP", func(c *Config) { c.MaxMessageBytes = 100 }, func(h *harness) {
			post(h, "/realtime", `{"channel":"c","message":"`+strings.Repeat("x", 99)+`"}`, 413)
		}, [][]string{refusedSeries(refusal.MessageTooLarge, "rest")}, false},
		{"frame over twice the message", func(c *Config) { c.MaxMessageBytes = 100 }, func(h *harness) {
			c := h.open(h.secret)
			c.text("%s", publish(`"`+strings.Repeat("x", 200)+`"`))
			c.wantError(refusal.MessageTooLarge)
			c.wantClose(1009)
		}, [][]string{refusedSeries(refusal.MessageTooLarge, "ws"), closed(1009)}, false},
		{"batch body", func(c *Config) { c.MaxBatchBytes = 100 }, func(h *harness) {
			post(h, "/realtime/batch", `{"messages":[`+strings.Repeat(" ", 100)+`]}`, 413)
		}, [][]string{refusedSeries(refusal.MessageTooLarge, "rest")}, false},
		{"batch", func(*Config) {}, func(h *harness) {
			post(h, "/realtime/batch", `{"messages":[`+strings.Repeat(`{"channel":"c","message":1},`,
				maxBatch)+`{"channel":"c","message":1}]}`, 400)
		}, [][]string{refusedSeries(refusal.InvalidMessage, "rest")}, false},
		{"channel name", func(*Config) {}, func(h *harness) {
			c := h.open(h.secret)
			c.text(`{"type":"subscribe","channel":%q}`, strings.Repeat("x", auth.MaxChannelName+1))
			c.wantError(refusal.InvalidChannel)
			c.wantSilence()
		}, [][]string{refusedSeries(refusal.InvalidChannel, "ws")}, false},
		{"channels", func(c *Config) { c.MaxChannels = 1 }, func(h *harness) {
			c := h.open(h.secret)
			c.subscribe("c", "")
			c.text(`{"type":"subscribe","channel":"d"}`)
			c.wantError(refusal.TooManyChannels)
			c.wantSilence()
		}, [][]string{refusedSeries(refusal.TooManyChannels, "ws")}, false},
		{"depth", func(*Config) {}, func(h *harness) {
			c := h.open(h.secret)
			c.text("%s", publish(strings.Repeat("[", 65)+strings.Repeat("]", 65)))
			c.wantError(refusal.InvalidMessage)
			c.wantSilence()
		}, [][]string{refusedSeries(refusal.InvalidMessage, "ws")}, false},
		{"id", func(*Config) {}, func(h *harness) {
			c := h.open(h.secret)
			c.text(`{"type":"publish","channel":"c","message":1,"id":%q}`, strings.Repeat("x", protocol.MaxMessageID+1))
			c.wantError(refusal.InvalidMessage)
			c.wantSilence()
		}, [][]string{refusedSeries(refusal.InvalidMessage, "ws")}, false},
		{"handshake bytes", func(*Config) {}, func(h *harness) {
			c := h.connect()
			c.send(upgradeHead + "X-A: " + strings.Repeat("x", 16<<10) + "\r\n\r\n")
			status(c, 431)
		}, [][]string{{"aptlyd_handshakes_refused_total", "431"}}, true},
		{"repeated header", func(*Config) {}, func(h *harness) {
			c := h.connect()
			c.send(upgradeHead + "Origin: https://a.example\r\nOrigin: https://b.example\r\n\r\n")
			status(c, 400)
		}, [][]string{{"aptlyd_handshakes_refused_total", "400"}}, false},
		{"handshake time", func(c *Config) { c.HandshakeTimeout = short }, func(h *harness) {
			if f := h.connect().next(); !f.eof {
				h.t.Errorf("got %s", f)
			}
		}, [][]string{{"aptlyd_handshakes_expired_total"}}, true},
		{"handshakes of an address", func(c *Config) { c.MaxAddressHandshakes = 1 }, func(h *harness) {
			h.connect()
			status(h.connect(), 429)
		}, [][]string{refusedSeries(refusal.RateLimited, "handshake")}, false},
		{"handshakes", func(c *Config) { c.MaxHandshakes = 1 }, func(h *harness) {
			h.connect()
			h.connect()
			h.untilPaused("handshakes")
		}, [][]string{{"aptlyd_accept_pauses_total", "handshakes"}}, false},
		{"connections", func(c *Config) { c.MaxConnections = 1 }, func(h *harness) {
			h.open(h.public)
			c := h.connect()
			c.send(upgradeHead + "\r\n")
			status(c, 503)
		}, [][]string{refusedSeries(refusal.Unavailable, "handshake")}, false},
		{"auth time", func(c *Config) { c.AuthTimeout = short }, func(h *harness) {
			c := h.dial("")
			if f := c.want("auth_timeout"); f.Code != refusal.AuthTimeout {
				h.t.Errorf("got %s", f)
			}
			c.wantClose(1008)
		}, [][]string{refusedSeries(refusal.AuthTimeout, "ws"), closed(1008)}, false},
		{
			"failed auths", func(c *Config) { c.FailedAuthBurst = 1 }, func(h *harness) {
				for range 2 {
					c := h.dial("")
					c.text(`{"type":"auth","apiKey":"wrong"}`)
					if f := c.next(); f.close == closeTryLater {
						return
					}
				}
				h.t.Error("nobody was turned away")
			},
			[][]string{refusedSeries(refusal.InvalidKey, "ws"), refusedSeries(refusal.RateLimited, "ws"), closed(1013)},
			false,
		},
		{"frame time", func(c *Config) { c.FrameTimeout = short }, func(h *harness) {
			c := h.open(h.public)
			c.send("\x81\xfe\x10")
			c.wantClose(1008)
		}, [][]string{closed(1008)}, false},
		{"silence", func(c *Config) { c.PingAfter, c.SilenceTimeout = short, 2*short }, func(h *harness) {
			c := h.open(h.public)
			if head, err := ws.ReadHeader(c.in); err != nil || head.OpCode != ws.OpPing {
				h.t.Fatalf("got %+v, %v, want a ping", head, err)
			}
			c.wantClose(1001)
		}, [][]string{closed(1001)}, false},
		{"stall", func(c *Config) { c.StallTimeout, c.SendBufferBytes = short, 8<<10 }, func(h *harness) {
			h.open(h.public).subscribe("c", "")
			message := `"` + strings.Repeat("x", 60<<10) + `"`
			for range 100 { // more than the kernel holds
				h.broker.append(h.channel("c"), message)
			}
		}, [][]string{closed(closeSlowConsumer)}, false},
	} {
		t.Run(limit.name, func(t *testing.T) {
			onEachPoller(t, func(t *testing.T, poller string) {
				h := newHarness(t, poller, func(c *Config) { c.CloseGrace = 20 * time.Millisecond }, limit.set)
				limit.breach(h)
				if limit.epoll && poller != "epoll" {
					return
				}
				for _, count := range limit.counts {
					eventually(t, func() string {
						if h.metric(count[0], count[1:]...) == 0 {
							return fmt.Sprintf("%v is not counted", count)
						}
						return ""
					})
				}
			})
		})
	}
}

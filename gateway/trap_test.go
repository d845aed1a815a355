package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// The fifteen traps of the protocol, each seen with a published client.

func TestTrap01HeartbeatsAreNotAnswered(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.dial("Origin: " + testOrigin + "\r\n")
		c.text(`{"type":"heartbeat","timestamp":1}`)
		c.wantSilence()
		c.text(`{"type":"auth","apiKey":%q,"timestamp":1}`, h.public)
		c.want("auth_success")
		c.want("connected")
		for range 3 {
			c.text(`{"type":"heartbeat","timestamp":1}`)
			c.text(`{"type":"heartbeat","payload":{"type":"response"}}`)
		}
		c.wantSilence()
	})
}

func TestTrap02ServerSendsHeartbeatsByItself(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.Heartbeat = 20 * time.Millisecond })
		c := h.open(h.public)
		c.text(`{"type":"subscribe","channel":"c"}`)
		// Traffic in either direction does not replace it.
		stop := make(chan struct{})
		var feeding sync.WaitGroup
		feeding.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					h.broker.append(h.channel("c"), `1`)
				}
			}
		})
		defer feeding.Wait()
		defer close(stop)
		for beats := 0; beats < 5; {
			if f := c.next(); f.raw == `{"type":"heartbeat"}` {
				beats++
			} else if f.Type != "message" && f.Type != "subscribed" {
				t.Fatalf("got %s", f)
			}
		}
	})
}

func TestTrap03AnyByteIsASignOfLife(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.PingAfter, c.SilenceTimeout = 60*time.Millisecond, 300*time.Millisecond
		})
		silent, ponging := h.open(h.public), h.open(h.public)
		begin := time.Now()
		// A client that only answers pings outlives several silence times.
		for time.Since(begin) < 900*time.Millisecond {
			head, err := ws.ReadHeader(ponging.in)
			if err != nil || head.OpCode != ws.OpPing {
				t.Fatalf("got %v, %v, want a ping", head, err)
			}
			ponging.send(string(clientFrame(ws.OpPong, true, nil)))
		}
		head, err := ws.ReadHeader(silent.in)
		if err != nil || head.OpCode != ws.OpPing {
			t.Fatalf("got %v, %v, want a ping", head, err)
		}
		silent.wantClose(1001)
	})
}

func TestTrap04OffsetsAreNumbersFromOne(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.open(h.public)
		if f := c.subscribe("c", ""); string(f.Offset) != "0" {
			t.Errorf("head of an empty channel: %s", f)
		}
		server := h.open(h.secret)
		for _, want := range []string{"1", "2"} {
			server.text(`{"type":"publish","channel":"c","message":0}`)
			if f := server.want("published"); string(f.Offset) != want {
				t.Errorf("published: %s", f)
			}
			if f := c.want("message"); string(f.Offset) != want {
				t.Errorf("message: %s", f)
			}
		}
	})
}

func TestTrap05TimestampsAreMilliseconds(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("c", 1)
		c := h.open(h.public)
		c.subscribe("c", "")
		server := h.open(h.secret)
		server.text(`{"type":"publish","channel":"c","message":"","timestamp":5}`)
		for _, f := range []frame{c.want("message"), c.want("message"), server.want("published")} {
			if stamp := string(f.Timestamp); len(stamp) != 13 || strings.Trim(stamp, "0123456789") != "" {
				t.Errorf("timestamp %s of %s", stamp, f)
			}
		}
	})
}

func TestTrap06MessagesCarryTheirChannel(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		name := `a "quoted" \ name of ünïcode`
		h.broker.append(h.channel(name), `1`)
		c := h.open(h.public)
		c.subscribe(name, "")
		c.wantMessages(name, 1, 1, true)
		h.broker.append(h.channel(name), `2`)
		c.wantMessages(name, 2, 2, false)
	})
}

func TestTrap07RefusalsDuringAuth(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.CloseGrace, c.FailedAuthBurst, c.FailedAuthRate = 250*time.Millisecond, 2, 1
		})
		unknown := auth.NewKeyText(fsm.PublicKey)

		// A final one: the reason, then time for the client to go by itself, then 1000.
		c := h.dial("")
		c.text(`{"type":"auth","apiKey":%q}`, unknown)
		c.wantError(refusal.InvalidKey)
		told := time.Now()
		c.wantClose(1000)
		if waited := time.Since(told); waited < 150*time.Millisecond {
			t.Errorf("closed %v after the error", waited)
		}

		// The client goes by itself: the close is answered at once.
		c = h.dial("")
		c.text(`{"type":"auth","apiKey":%q}`, unknown)
		c.wantError(refusal.InvalidKey)
		c.send(string(clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(1000, ""))))
		if f := c.next(); f.close != 1000 {
			t.Errorf("got %s", f)
		}

		// The address has used up its failures: a passing refusal, no frame.
		c = h.dial("")
		c.text(`{"type":"auth","apiKey":%q}`, unknown)
		c.wantClose(1013)
		// A good key from there is not refused.
		h.open(h.public)

		h.broker.set(func() { h.broker.staleness = RefuseAfter + time.Second })
		c = h.dial("")
		c.text(`{"type":"auth","apiKey":%q}`, h.secret)
		c.wantClose(1013)
	})
}

func TestTrap08RefusedAtAuthNotAtUpgrade(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		for _, origin := range []string{"https://evil.example.com", "null", "garbage"} {
			c := h.dial("Origin: " + origin + "\r\n") // fails unless the answer is 101
			c.text(`{"type":"auth","apiKey":%q}`, h.public)
			c.wantError(refusal.OriginNotAllowed)
		}
		// The origin of a server key is ignored.
		c := h.dial("Origin: https://evil.example.com\r\n")
		c.text(`{"type":"auth","apiKey":%q}`, h.secret)
		c.want("auth_success")
	})
}

func TestTrap09OnlyFinalClosesAre1000(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.CloseGrace, c.AuthTimeout = 20*time.Millisecond, 100*time.Millisecond
		})
		mute := h.dial("")
		f := mute.want("auth_timeout")
		if f.Code != refusal.AuthTimeout || f.Error == "" {
			t.Errorf("got %s", f)
		}
		mute.wantClose(1008)

		revoked := h.open(h.broker.addKey(testProject, fsm.ServerKey))
		other := h.open(h.secret)
		for _, key := range h.broker.Keys(testProject) {
			if key.ID == h.server.Connections(admin.ConnectionQuery{Limit: 10})[0].KeyID {
				if err := h.broker.RevokeKey(context.Background(), fsm.Actor{}, key.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		revoked.wantError(refusal.KeyRevoked)
		revoked.wantClose(1000)

		drained := make(chan error, 1)
		go func() { drained <- h.server.Drain(t.Context()) }()
		other.wantClose(1012)
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("readyz is %d while draining", res.StatusCode)
		}
	})
}

func TestTrap10SecondSubscribeReplaysOnlyWhatWasNotSent(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("c", 6)
		c := h.open(h.public)
		c.subscribe("c", `,"fromOffset":4`)
		c.wantMessages("c", 5, 6, true)

		c.subscribe("c", `,"fromOffset":0`) // 1 to 4 were not sent yet
		c.wantMessages("c", 1, 4, true)
		c.subscribe("c", `,"fromOffset":2`)
		c.subscribe("c", "")
		c.wantSilence()
		h.broker.append(h.channel("c"), `7`)
		c.wantMessages("c", 7, 7, false)
		c.wantSilence()

		// From live, then everything.
		d := h.open(h.public)
		d.subscribe("c", `,"from":"live"`)
		h.broker.append(h.channel("c"), `8`)
		d.wantMessages("c", 8, 8, false)
		d.subscribe("c", `,"from":{"last":3}`)
		d.wantMessages("c", 6, 7, true)
		d.wantSilence()
		d.subscribe("c", `,"fromOffset":4`) // one more
		d.wantMessages("c", 5, 5, true)
		d.wantSilence()

		// To unsubscribe is to forget.
		d.text(`{"type":"unsubscribe","channel":"c"}`)
		d.want("unsubscribed")
		d.subscribe("c", `,"fromOffset":6`)
		d.wantMessages("c", 7, 8, true)
	})
}

func TestTrap11OffsetAboveTheHead(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("c", 2)
		release, asked := make(chan struct{}), make(chan struct{}, 10)
		h.broker.set(func() {
			h.broker.catchUp = func(context.Context) error {
				asked <- struct{}{}
				<-release
				return nil
			}
		})
		// They come from a node that is ahead.
		clients := make([]*client, 5)
		for i := range clients {
			clients[i] = h.open(h.public)
		}
		clients[0].text(`{"type":"subscribe","channel":"c","fromOffset":4}`)
		<-asked
		for _, c := range clients[1:] {
			c.text(`{"type":"subscribe","channel":"c","fromOffset":4}`)
		}
		eventually(t, func() string {
			if n := h.broker.rounds(); n != len(clients) {
				return fmt.Sprintf("%d wait for the leader, want %d", n, len(clients))
			}
			return ""
		})
		h.broker.append(h.channel("c"), `3`, `4`, `5`)
		close(release)
		for _, c := range clients {
			if f := c.want("subscribed"); f.offset() != 5 || !*f.Recovered {
				t.Errorf("got %s", f)
			}
			c.wantMessages("c", 5, 5, true)
		}

		// Above what was ever committed: another environment, or a restored backup.
		c := h.open(h.public)
		if f := c.subscribe("c", `,"fromOffset":99`); f.offset() != 5 || *f.Recovered {
			t.Errorf("got %s", f)
		}
		h.broker.append(h.channel("c"), `6`)
		c.wantMessages("c", 6, 6, false)

		// An offset of another epoch is never ahead: nobody is asked.
		rounds := h.broker.rounds()
		d := h.open(h.public)
		if f := d.subscribe("c", `,"fromOffset":99,"epoch":"another"`); *f.Recovered || f.Epoch != "epoch-1" {
			t.Errorf("got %s", f)
		}
		if f := d.subscribe("d", `,"fromOffset":0,"epoch":"another"`); !*f.Recovered {
			t.Errorf("got %s", f)
		}
		if h.broker.rounds() != rounds {
			t.Error("the leader was asked about an offset of another epoch")
		}

		// Nobody can say: the client is told, and may try again.
		h.broker.set(func() {
			h.broker.catchUp = func(context.Context) error { return refusal.New(refusal.Unavailable, "no leader") }
		})
		e := h.open(h.public)
		e.text(`{"type":"subscribe","channel":"c","fromOffset":99}`)
		if f := e.wantError(refusal.Unavailable); f.Channel == nil || *f.Channel != "c" {
			t.Errorf("got %s", f)
		}
		e.subscribe("c", `,"fromOffset":5`)
		e.wantMessages("c", 6, 6, true)
	})
}

func TestTrap12FieldsHaveTheTypesThatGoExpects(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.fill("c", 1)
		c := h.open(h.secret)
		c.subscribe("c", "")
		if f := c.want("message"); !strings.Contains(f.raw, `"replay":true`) || strings.Contains(f.raw, `"payload"`) {
			t.Errorf("got %s", f)
		}
		for _, bad := range []string{`{"type":"nonsense"}`, `{"type":7}`, `[]`, `{"type":"publish","channel":"c"}`} {
			c.text("%s", bad)
			f := c.next() // decoding fails unless error is a string
			if f.Type != "error" || f.Error == "" || strings.Contains(f.raw, `"payload"`) {
				t.Errorf("%s: got %s", bad, f)
			}
		}
	})
}

func TestTrap13EndpointIsOneAddress(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.connect()
		c.send(strings.Replace(upgradeHead, "/realtime", "/", 1) + "\r\n")
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %v, %v", res, err)
		}
		c.text(`{"type":"auth","apiKey":%q}`, h.secret)
		c.want("auth_success")
		if res, _ := h.do("GET", "/", ""); res.StatusCode != http.StatusFound || res.Header.Get("Location") != "console/" {
			t.Errorf("plain GET / answers %d to %q", res.StatusCode, res.Header.Get("Location"))
		}
	})
}

func TestTrap14ResumeMissesNothing(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.open(h.public)
		c.subscribe("c", "")
		h.fill("c", 3)
		c.wantMessages("c", 1, 3, false)
		_ = c.socket.Close()
		h.fill("c", 2)
		c = h.open(h.public)
		if f := c.subscribe("c", `,"fromOffset":3`); !*f.Recovered {
			t.Errorf("got %s", f)
		}
		c.wantMessages("c", 4, 5, true)
		h.fill("c", 1)
		c.wantMessages("c", 6, 6, false)

		// What retention has overtaken is told.
		_ = c.socket.Close()
		h.fill("c", 4)
		h.broker.trim(h.channel("c"), 9)
		c = h.open(h.public)
		if f := c.subscribe("c", `,"fromOffset":6`); *f.Recovered || f.Earliest != 9 || f.offset() != 10 {
			t.Errorf("got %s", f)
		}
		if f := c.want("gap"); f.From != 7 || f.To != 8 || *f.Channel != "c" {
			t.Errorf("got %s", f)
		}
		c.wantMessages("c", 9, 10, true)

		// But not to someone who never had an offset.
		d := h.open(h.public)
		d.subscribe("c", `,"fromOffset":0`)
		d.wantMessages("c", 9, 10, true)
		d.wantSilence()
	})
}

func TestTrap15NativeClientsSendTheBrokersOwnOrigin(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		native := []string{"", "Origin: http://broker.example.com\r\n", "Origin: https://broker.example.com\r\n"}
		for _, header := range native {
			c := h.dial(header)
			c.text(`{"type":"auth","apiKey":%q}`, h.public)
			c.wantError(refusal.OriginNotAllowed)
		}
		allow := true
		if _, err := h.broker.UpdateProject(t.Context(),
			fsm.UpdateProject{ID: testProject, AllowNativeClients: &allow}); err != nil {
			t.Fatal(err)
		}
		for _, header := range native {
			c := h.dial(header)
			c.text(`{"type":"auth","apiKey":%q}`, h.public)
			c.want("auth_success")
		}
		c := h.dial("Origin: https://broker.example.com:444\r\n")
		c.text(`{"type":"auth","apiKey":%q}`, h.public)
		c.wantError(refusal.OriginNotAllowed)
	})
}

// A subscriber of a channel that begins live, which was empty, comes back: it missed
// nothing yet, and is not new.
func TestOffsetZeroWithAnEpochIsAPosition(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.broker.set(func() {
			p := *h.broker.projects[testProject]
			p.Rules = []fsm.Rule{{Pattern: "*", KeepMessages: 100, KeepFor: time.Hour, Initial: fsm.Initial{}}}
			h.broker.projects[testProject] = &p
		})
		c := h.open(h.public)
		f := c.subscribe("c", "")
		if f.offset() != 0 || f.Epoch != "epoch-1" {
			t.Fatalf("got %s", f)
		}
		c.socket.Close()
		h.broker.append(h.channel("c"), `1`, `2`, `3`)

		d := h.open(h.public)
		if f := d.subscribe("c", `,"fromOffset":0,"epoch":"epoch-1"`); !*f.Recovered || f.offset() != 3 {
			t.Errorf("got %s", f)
		}
		d.wantMessages("c", 1, 3, true)

		// Without an epoch it says nothing, and the rule decides.
		e := h.open(h.public)
		e.subscribe("c", `,"fromOffset":0`)
		e.wantSilence()

		// What retention took of it is told.
		h.broker.trim(h.channel("c"), 3)
		g := h.open(h.public)
		if f := g.subscribe("c", `,"fromOffset":0,"epoch":"epoch-1"`); *f.Recovered {
			t.Errorf("got %s", f)
		}
		if f := g.want("gap"); f.From != 1 || f.To != 2 {
			t.Errorf("got %s", f)
		}
		g.wantMessages("c", 3, 3, true)
	})
}

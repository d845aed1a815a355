package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// flood sends the same bytes for as long as they are taken.
func (c *client) flood(raw []byte) {
	var batch []byte
	for len(batch) < 64<<10 {
		batch = append(batch, raw...)
	}
	go func() {
		for {
			if _, err := c.socket.Write(batch); err != nil {
				return
			}
		}
	}()
}

func textFrame(text string) []byte { return clientFrame(ws.OpText, true, []byte(text)) }

// Frames that are refused end the connection that sends them on and on, with
// the reason; the others and health notice nothing. A backend's do not.
func TestRefusedFramesEndTheConnection(t *testing.T) {
	for name, frame := range map[string]string{
		"empty":     `{}`,
		"unknown":   `{"type":"x"}`,
		"forbidden": `{"type":"publish","channel":"c","message":1}`,
		"malformed": `{"type":"subscribe","channel":"c","fromOffset":-1}`,
		"auth":      `{"type":"auth","apiKey":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			onEachPoller(t, func(t *testing.T, poller string) {
				h := newHarness(t, poller, func(c *Config) { c.ConnectionRefusal, c.MaxChannels = 1, 20 })
				good := h.neighbour()
				bad := h.open(h.public)
				bad.flood(textFrame(frame))
				answers := 0
				for ; ; answers++ {
					f := bad.next()
					if f.Code == refusal.RateLimited && f.RetryAfter > 0 {
						break
					}
					if f.Type != "error" {
						t.Fatalf("after %d refusals: %s", answers, f)
					}
				}
				if answers < 20 || answers > 30 {
					t.Errorf("%d frames were refused before the end", answers)
				}
				bad.wantClose(1008)
				good.wantUndisturbed()
				if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != http.StatusOK {
					t.Errorf("readyz is %d", res.StatusCode)
				}
				if h.metric("aptlyd_refusals_total", string(refusal.RateLimited), "ws") == 0 {
					t.Error("the end is not counted")
				}
			})
		})
	}
}

// A client that was closed for what it sends time and again has to wait, over
// WebSocket and HTTP.
func TestFloodersHaveToWait(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.ConnectionRefusal, c.MaxChannels, c.FailedAuthBurst, c.FailedAuthRate = 1, 1, 2, 1
		})
		// On a slow machine a flooder may be forgiven before it comes back.
		eventually(t, func() string {
			bad := h.dial("Origin: " + testOrigin + "\r\n")
			bad.text(`{"type":"auth","apiKey":%q}`, h.public)
			bad.send(strings.Repeat(string(textFrame(`{}`)), 10))
			f := bad.next()
			for ; !f.eof && f.close == 0; f = bad.next() {
			}
			if f.close != closeTryLater {
				return fmt.Sprintf("a flooder may come back: %s", f)
			}
			res, _ := h.do("GET", "/realtime/history?channel=c", "", "X-Api-Key", h.public, "Origin", testOrigin)
			if res.StatusCode != http.StatusTooManyRequests {
				return fmt.Sprintf("over HTTP: %d", res.StatusCode)
			}
			return ""
		})
		h.open(h.secret)
	})
}

// Frames that ask for nothing are read more slowly beyond a rate, and the client
// is told; what it sends after them comes through.
func TestControlFramesAreSlowedDown(t *testing.T) {
	for name, frame := range map[string][]byte{
		"heartbeat":   textFrame(`{"type":"heartbeat"}`),
		"unsubscribe": textFrame(`{"type":"unsubscribe","channel":"c"}`),
		"pong":        clientFrame(ws.OpPong, true, nil),
		"ping":        clientFrame(ws.OpPing, true, nil),
	} {
		t.Run(name, func(t *testing.T) {
			onEachPoller(t, func(t *testing.T, poller string) {
				h := newHarness(t, poller, func(c *Config) { c.ConnectionControl, c.MaxChannels = 20, 1 })
				good := h.neighbour()
				bad := h.open(h.public)
				bad.send(strings.Repeat(string(frame), 130))
				bad.text(`{"type":"subscribe","channel":"after"}`)
				for limited := 0; ; {
					f := bad.next()
					if f.Code == refusal.RateLimited {
						limited++
						good.wantUndisturbed()
					}
					if f.Type == "subscribed" {
						if limited == 0 || limited > 30 {
							t.Errorf("told %d times", limited)
						}
						return
					}
					if f.eof || f.close != 0 {
						t.Fatalf("got %s", f)
					}
				}
			})
		})
	}
}

// Before auth a few signs of life are taken and nothing else.
func TestFewFramesBeforeAuth(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		for name, frame := range map[string][]byte{
			"heartbeats": textFrame(`{"type":"heartbeat"}`),
			"pings":      clientFrame(ws.OpPing, true, nil),
			"pongs":      clientFrame(ws.OpPong, true, nil),
			"fragments":  clientFrame(ws.OpText, false, nil),
		} {
			c := h.dial("")
			if name == "fragments" {
				c.send(string(frame))
				frame = clientFrame(ws.OpContinuation, false, nil)
			}
			c.send(strings.Repeat(string(frame), 100))
			f := c.next()
			for ; name == "pings" && f.raw == ""; f = c.next() {
				if f.eof {
					break
				}
			}
			if f.Code != refusal.AuthRequired {
				t.Errorf("%s: got %s", name, f)
				continue
			}
			c.wantClose(1008)
		}
		// Enough for a client whose first words are not auth.
		c := h.dial("Origin: " + testOrigin + "\r\n")
		c.send(strings.Repeat(string(textFrame(`{"type":"heartbeat"}`)), framesBeforeAuth))
		c.text(`{"type":"auth","apiKey":%q}`, h.public)
		c.want("auth_success")

		large := h.dial("")
		large.send(string(clientFrame(ws.OpText, true, make([]byte, maxUnprivilegedBytes+1))[:20]))
		large.wantError(refusal.MessageTooLarge)
		large.wantClose(1009)
	})
}

// Of one that may not publish a frame is not kept that could only be a publish.
func TestFramesOfSubscribersAreNotKept(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		c := h.open(h.public)
		large := fmt.Sprintf(`{"type":"publish","channel":"c","message":"%s"}`, strings.Repeat("x", 60<<10))
		whole := clientFrame(ws.OpText, true, []byte(large))
		c.send(string(whole[:len(whole)-1]))
		eventually(t, func() string {
			begun := 0
			h.server.ask(func(l *loop) func() {
				mine := 0
				for _, c := range l.conns {
					if c.state == stateOpen && c.frames.Midway() && c.frames.Kept == maxUnprivilegedBytes {
						mine++
					}
				}
				return func() { begun += mine }
			})
			if begun == 0 {
				return "the frame has not begun"
			}
			return ""
		})
		c.send(string(whole[len(whole)-1:]))
		c.wantError(refusal.Forbidden)
		for i := range 3 { // in fragments too
			op := ws.OpContinuation
			if i == 0 {
				op = ws.OpText
			}
			c.send(string(clientFrame(op, i == 2, make([]byte, 6<<10))))
		}
		c.wantError(refusal.Forbidden)
		c.subscribe("c", "")
		backend := h.open(h.secret)
		backend.send(string(whole))
		backend.want("published")
	})
}

// One that has a lot to say is heard in turn: 32 frames, then the others.
func TestFramesOfOneTurn(t *testing.T) {
	l := &loop{began: time.Now().Add(-time.Hour)}
	c := &conn{loop: l}
	for turn := range 3 {
		l.turns++
		heard := 0
		for !c.heard() {
			heard++
		}
		if heard != framesPerTurn {
			t.Errorf("turn %d: heard %d frames", turn, heard)
		}
	}
	l.now = time.Since(l.began) + time.Minute // the turn is young
	for range 10 * framesPerTurn {
		if c.heard() {
			t.Fatal("cut short with time left")
		}
	}
}

// Loops that are all busy are no stopped process: nobody is kept waiting for a
// proof, new clients are sent away, and health says so only after ten seconds.
func TestBusyLoopsAreNoStoppedProcess(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.OverloadAfter = 300 * time.Millisecond })
		h.open(h.public)
		h.broker.set(func() { h.broker.staleness = RefuseAfter - time.Second }) // no proof would do
		free := make(chan struct{})
		release := sync.OnceFunc(func() { close(free) })
		defer release()
		for _, l := range h.server.loops {
			l.mail.post(func() { <-free })
		}
		until := time.Now().Add(2 * pauseAfter)
		for time.Now().Before(until) {
			if h.server.paused() {
				t.Fatal("taken for stopped")
			}
			time.Sleep(pauseAfter / 50) // between two looks
		}
		if h.server.available() != nil {
			t.Error("a busy node is not ready")
		}
		if refused := h.server.overloaded(); refused == nil || refused.Code != refusal.RateLimited {
			t.Errorf("new work is not refused: %v", refused)
		}
		release()
		h.broker.set(func() { h.broker.staleness = 0 })
		eventually(t, func() string {
			if h.server.overloaded() != nil {
				return "still overloaded"
			}
			return ""
		})
		h.open(h.public)
	})
}

// An idle client takes no more memory than before for all of this: its struct
// must not outgrow its size class.
func TestSizeOfAConnection(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 576 {
		t.Errorf("a connection takes %d bytes", size)
	}
}

package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/sse"
)

// Of somebody who may publish nowhere not a byte of a body is waited for, and of
// others little.
func TestNoBodyBeforeAuthority(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		post := func(path, key string) *client {
			c := h.connect()
			c.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nOrigin: %s\r\nX-Api-Key: %s\r\n"+
				"Content-Type: application/json\r\nContent-Length: 4000000\r\n\r\n",
				path, testOrigin, key))
			return c
		}
		for _, path := range []string{"/realtime", "/realtime/batch"} {
			post(path, h.public).wantStatus(403)
			post(path, h.token(h.secret, time.Hour, `,"channels":{"*":["subscribe"]}`)).wantStatus(403)
			post(path, "").wantStatus(401)
		}
		post(sse.EventsPath, "").wantStatus(401)
		post(sse.EventsPath, "pk_nobody").wantStatus(401)
		chunked := func(key string) *client {
			c := h.connect()
			c.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nTransfer-Encoding: chunked\r\n"+
				"Content-Type: application/json\r\n\r\n", sse.EventsPath, key))
			return c
		}
		chunked("").wantStatus(401)
		known := chunked(h.secret)
		known.send("1e\r\n" + `{"channels":[{"name":"news"}]}` + "\r\n0\r\n\r\n")
		if res, err := http.ReadResponse(known.in, nil); err != nil || res.StatusCode != 200 {
			t.Fatalf("%v, %v", res, err)
		}
		signIn := h.connect()
		signIn.send("POST /console/session HTTP/1.1\r\nHost: x\r\n" + admin.ConsoleHeader +
			": 1\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n" +
			strings.Repeat(" ", maxUnprivilegedBytes+1))
		signIn.wantStatus(413)
	})
}

// What is under way of bodies is bounded for an address, but not for a backend.
func TestBodiesUnderWayAreBounded(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.MaxAddressBodyBytes = 100 << 10 })
		h.broker.set(func() {
			project := *h.broker.projects[testProject]
			project.Access.Publish = []fsm.PublishGrant{{Pattern: "*", Rate: 100, Burst: 100}}
			h.broker.projects[testProject] = &project
		})
		body := `{"channel":"c","message":"` + strings.Repeat("x", 60<<10) + `"}`
		post := func(key string) *client {
			c := h.connect()
			c.send(fmt.Sprintf("POST /realtime HTTP/1.1\r\nHost: x\r\nOrigin: %s\r\nX-Api-Key: %s\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n",
				testOrigin, key, len(body)))
			return c
		}
		slow := post(h.public)
		eventually(t, func() string {
			if n := h.server.bodies.Count(); n != len(body) {
				return fmt.Sprintf("%d bytes are under way", n)
			}
			return ""
		})
		post(h.public).wantStatus(429)
		backend := post(h.secret)
		backend.send(body)
		backend.wantStatus(200)
		slow.send(body)
		slow.wantStatus(200)
		eventually(t, func() string {
			if n := h.server.bodies.Count(); n != 0 {
				return fmt.Sprintf("%d bytes are left under way", n)
			}
			return ""
		})
	})
}

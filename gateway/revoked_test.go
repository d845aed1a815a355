package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
)

// bodies is what the routes of the admin API are sent that take a body, such that a
// live operator would have changed something, where there is something to change.
var bodies = map[string]string{
	"POST /tokens":                      `{"name":"evil","role":"owner"}`,
	"POST /projects":                    `{"name":"evil"}`,
	"PATCH /projects/{id}":              `{"name":"evil"}`,
	"POST /projects/{id}/keys":          `{"kind":"server"}`,
	"POST /keys/{id}/rotate":            `{"overlap":"1h"}`,
	"POST /origins/check":               `{"rules":["*"]}`,
	"POST /projects/{id}/messages":      `{"message":"evil"}`,
	"PATCH /settings":                   `{"maxBytes":0}`,
	"POST /projects/{id}/console-token": "",
	"POST /keys/{id}/token":             `{"channels":{"*":["publish"]}}`,
	"POST /client-tokens/check":         `{"token":"x"}`,
}

// sendings is every route and frame, as somebody with a credential sends it.
func (h *harness) sendings() map[string]func(credential string) string {
	asked := 0
	request := func(method, path, header, body string) string {
		asked++ // each from an address of its own, so that none has guessed too often
		from := netip.AddrFrom4([4]byte{10, byte(asked >> 16), byte(asked >> 8), byte(asked)})
		header += fmt.Sprintf("X-Forwarded-For: %s\r\n", from)
		header += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: broker.example.com\r\n%s\r\n%s", method, path, header, body)
	}
	all := make(map[string]func(string) string)
	for path, body := range map[string]string{
		"POST /realtime":                  `{"channel":"c","message":"evil"}`,
		"POST /realtime/batch":            `{"messages":[{"channel":"c","message":"evil"}]}`,
		"GET /realtime/history?channel=c": "",
	} {
		method, path, _ := strings.Cut(path, " ")
		all[method+" "+path] = func(key string) string {
			return request(method, path, "X-Api-Key: "+key+"\r\nOrigin: "+testOrigin+"\r\n", body)
		}
	}
	for _, route := range h.server.admin.Routes() {
		name := route.Method + " " + route.Path
		body, known := bodies[name]
		if takes := route.Method == http.MethodPost || route.Method == http.MethodPatch; takes && !known {
			h.t.Errorf("%s: this test does not know its body", name)
		}
		id := testProject
		if strings.HasPrefix(route.Path, "/keys/") {
			id = "key-001"
		}
		path := "/admin/v1" + strings.NewReplacer("{id}", id).Replace(route.Path)
		if strings.HasSuffix(path, "/messages") {
			path += "?channel=c"
		}
		all[name] = func(token string) string {
			return request(route.Method, path, "Authorization: Bearer "+token+"\r\n", body)
		}
		all[name+" as a session"] = func(token string) string {
			return request(route.Method, path,
				"Cookie: "+admin.SessionCookie+"="+token+"\r\n"+admin.ConsoleHeader+": 1\r\n", body)
		}
	}
	all["POST /console/session"] = func(token string) string {
		return request("POST", "/console/session", admin.ConsoleHeader+": 1\r\n", fmt.Sprintf(`{"token":%q}`, token))
	}
	return all
}

var frames = map[string]string{
	"auth":        `{"type":"auth","apiKey":"x"}`,
	"heartbeat":   `{"type":"heartbeat"}`,
	"subscribe":   `{"type":"subscribe","channel":"c"}`,
	"unsubscribe": `{"type":"unsubscribe","channel":"c"}`,
	"publish":     `{"type":"publish","channel":"c","message":"evil"}`,
}

// content is all that requests could change.
func (b *fakeBroker) content() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	heads := ""
	for key, c := range b.channels {
		heads += fmt.Sprint(key, c.head, len(c.messages))
	}
	projects := ""
	for _, p := range b.projects {
		projects += fmt.Sprintf("%+v", *p)
	}
	return fmt.Sprint(len(b.audit), len(b.keys), len(b.admins), len(projects), strings.Contains(projects, "evil"),
		b.settings, heads, b.removed)
}

// A request of which some bytes had come when its sender's credential was revoked is
// refused when the rest comes, and changes nothing, wherever it was cut.
func TestRevokedWhileTheRestOfARequestIsOnItsWay(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.FailedAuthBurst, c.TrustedProxies = 1<<20, []netip.Prefix{prefix("127.0.0.0/8")}
		})
		h.change(func(p *fsm.Project) { p.Access.Publish = []fsm.PublishGrant{{Pattern: "*", Rate: 1e6, Burst: 1e6}} })
		h.fill("c", 1)
		made := 0
		credential := func(name string) (text string, revoke func()) {
			made++
			if strings.Contains(name, " /realtime") {
				key := h.broker.addKey(testProject, []fsm.KeyKind{fsm.ServerKey, fsm.PublicKey, fsm.ServerKey}[made%3])
				if text = key; made%3 == 2 {
					text = h.token(key, time.Hour, everywhere)
				}
				return text, func() { h.broker.endKey(key) }
			}
			token := fsm.AdminToken{ID: fmt.Sprint("adm-", made), Name: "n", Role: fsm.Owner}
			if strings.HasSuffix(name, "as a session") {
				token.Parent = fsm.FirstAdminToken
			}
			text = fmt.Sprint("secret-", made)
			h.broker.set(func() { h.broker.admins[text] = token })
			return text, func() {
				if err := h.broker.RevokeAdminToken(context.Background(), fsm.Actor{}, token.ID); err != nil {
					t.Error(err)
				}
			}
		}
		// refused sends a request but for its last bytes, revokes and sends those.
		refused := func(name string, send func(string) string, last int, later bool) {
			text, revoke := credential(name)
			raw := send(text)
			cut := len(raw) - last
			c := h.connect()
			defer c.socket.Close()
			if later { // behind a request that came before, on the same connection
				c.send("GET /healthz HTTP/1.1\r\nHost: broker.example.com\r\n\r\n")
				res, err := http.ReadResponse(c.in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(res.Body); err != nil {
					t.Fatal(err)
				}
			}
			judged := h.broker.judged.Load()
			c.send(raw[:cut])
			if cut >= strings.Index(raw, "\r\n\r\n")+4 && name != "POST /console/session" {
				eventually(t, func() string {
					if h.broker.judged.Load() == judged {
						return name + ": nobody looks at the head"
					}
					return ""
				})
			}
			revoke()
			before := h.broker.content()
			c.send(raw[cut:])
			res, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatalf("%s without the last %d bytes: %v", name, last, err)
			}
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s without the last %d bytes, behind another request %t: %d", name, last, later, res.StatusCode)
			}
			if after := h.broker.content(); after != before {
				t.Fatalf("%s without the last %d bytes changed\n%s to\n%s", name, last, before, after)
			}
		}
		for name, send := range h.sendings() {
			_, body, _ := strings.Cut(send("secret-"), "\r\n\r\n")
			for last := 1; last <= len(body)+4; last++ { // and the end of the head
				for _, later := range []bool{false, true} {
					refused(name, send, last, later)
				}
			}
		}
	})
}

// So is a frame, of which the rest may come before the connection is closed.
func TestRevokedWhileTheRestOfAFrameIsOnItsWay(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.FailedAuthBurst, c.CloseGrace = 1<<20, time.Millisecond })
		h.fill("c", 1)
		for kind, text := range frames {
			raw := string(clientFrame(ws.OpText, true, []byte(text)))
			for cut := range len(raw) {
				key := h.broker.addKey(testProject, fsm.ServerKey)
				c := h.open(key)
				c.send(raw[:cut])
				h.broker.endKey(key)
				before := h.broker.content()
				_, _ = c.socket.Write([]byte(raw[cut:])) // it may be closed by now
				// Nor is it sure that the reason is read: bytes that come to a closed socket
				// are answered with a reset. A loop that reads the rest before its mailbox
				// may refuse the frame for another reason, or answer one that changes nothing.
				for f := c.next(); !f.eof; f = c.next() {
					changes := f.Type != "subscribed" && f.Type != "unsubscribed" && f.Type != "message"
					if f.Code == "" && f.close != closeFinal && changes {
						t.Fatalf("%s cut at %d got %s", kind, cut, f)
					}
				}
				if after := h.broker.content(); after != before {
					t.Fatalf("%s cut at %d changed\n%s to\n%s", kind, cut, before, after)
				}
				_ = c.socket.Close()
			}
		}
	})
}

package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/internal/testtoken"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/quota"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// credentials are all that somebody can show, in the order of the columns of the
// table below.
var credentials = []string{
	"none", "malformed", "unknown", "ended", "public", "server", "foreign server", "foreign public",
	"subscribe token", "publish token", "expired token", "forged token", "foreign token", "console token",
	"viewer", "operator", "owner", "session",
}

// What may be answered. The columns are the credentials.
//
//	.  done     a  auth_required   k  invalid_key     f  forbidden
//	x  token_expired               t  token_invalid   -  nothing to tell apart
const (
	//           nmueps fF s p x f F c v o o s
	everybody = "......" + ".." + "......" + "...."
	viewers   = "akkkkk" + "kk" + "kkkkkk" + "...."
	operators = "akkkkk" + "kk" + "kkkkkk" + "f..."
	owners    = "akkkkk" + "kk" + "kkkkkk" + "ff.."

	subscribers = "akkk.." + ".." + ".fxt.." + "kkka"
	publishers  = "akkkf." + ".f" + "f.xt.f" + "kkka"
	readers     = "akkk.." + ".." + "ffxt.." + "kkka"
	backends    = "akkkf." + ".f" + "ffxtff" + "kkka"
	connected   = "akkk.." + ".." + "..xt.." + "kkka"
)

// rights is every frame and every route, and who may.
var rights = map[string]string{
	"frame auth":        connected,
	"frame heartbeat":   connected,
	"frame ping":        connected,
	"frame subscribe":   subscribers,
	"frame unsubscribe": connected,
	"frame publish":     publishers,
	"frame presence":    backends,

	"GET /":                  everybody, // the way to the console
	"GET /console":           everybody, // likewise
	"GET /metrics":           everybody,
	"GET /openapi.yaml":      everybody,
	"GET /openapi.json":      everybody,
	"GET /console/":          everybody, // a page; what it shows it asks the admin API for
	"POST /realtime":         publishers,
	"POST /realtime/batch":   publishers,
	"GET /realtime/history":  readers,
	"GET /realtime/sse":      subscribers,
	"POST /realtime/sse":     subscribers,
	"GET /realtime/poll":     subscribers,
	"GET /realtime/presence": backends,
	"GET /realtime/channels": backends,
	// What these do is decided behind them.
	"/admin/v1/":       "",
	"/console/session": "",

	"GET /admin/v1/whoami":         viewers,
	"GET /admin/v1/tokens":         owners,
	"POST /admin/v1/tokens":        owners,
	"DELETE /admin/v1/tokens/{id}": owners,
	"GET /admin/v1/audit":          viewers,

	"GET /admin/v1/projects":                     viewers,
	"POST /admin/v1/projects":                    operators,
	"GET /admin/v1/projects/{id}":                viewers,
	"PATCH /admin/v1/projects/{id}":              operators,
	"DELETE /admin/v1/projects/{id}":             operators,
	"POST /admin/v1/projects/{id}/keys":          operators,
	"GET /admin/v1/projects/{id}/channels":       viewers,
	"DELETE /admin/v1/projects/{id}/messages":    operators,
	"DELETE /admin/v1/projects/{id}/channels":    operators,
	"GET /admin/v1/projects/{id}/messages":       viewers,
	"GET /admin/v1/projects/{id}/presence":       viewers,
	"POST /admin/v1/projects/{id}/messages":      operators,
	"POST /admin/v1/projects/{id}/console-token": viewers,
	"DELETE /admin/v1/keys/{id}":                 operators,
	"POST /admin/v1/keys/{id}/rotate":            operators,
	"GET /admin/v1/keys/{id}/connections":        viewers,
	"POST /admin/v1/origins/check":               viewers,
	"GET /admin/v1/refusals":                     viewers,
	"GET /admin/v1/connections":                  viewers,
	"DELETE /admin/v1/connections/{id}":          operators,
	"GET /admin/v1/projects/{id}/usage":          viewers,
	"GET /admin/v1/usage":                        viewers,
	"GET /admin/v1/refusals/rules":               viewers,
	"POST /admin/v1/keys/{id}/token":             operators,
	"POST /admin/v1/client-tokens/check":         viewers,
	"GET /admin/v1/settings":                     viewers,
	"PATCH /admin/v1/settings":                   owners,
	"GET /admin/v1/metrics/history":              viewers,
	"GET /admin/v1/status":                       viewers,
	"GET /admin/v1/diagnosis":                    operators,
	"GET /admin/v1/backup":                       owners,
	"DELETE /admin/v1/members":                   owners,
}

var outcomes = map[refusal.Code]byte{
	"": '.', refusal.AuthRequired: 'a', refusal.InvalidKey: 'k', refusal.Forbidden: 'f', refusal.TokenExpired: 'x',
	refusal.TokenInvalid: 't',
}

// rightsHarness knows every credential.
type rightsHarness struct {
	*harness
	texts   map[string]string
	asked   int // requests, each from an address of its own
	channel string
}

const foreignProject = "prj-foreign"

func newRightsHarness(t *testing.T) *rightsHarness {
	h := &rightsHarness{channel: "c", harness: newHarness(t, "", func(c *Config) {
		c.TrustedProxies = []netip.Prefix{prefix("127.0.0.0/8")}
		c.FailedAuthBurst = 1 << 20
		c.CloseGrace = 20 * time.Millisecond
		c.Console = http.NotFoundHandler()
	})}
	h.broker.set(func() {
		withMembers := fsm.DefaultRule
		withMembers.Presence = fsm.DefaultPresence
		h.broker.projects[foreignProject] = &fsm.Project{
			ID: foreignProject, AllowedOrigins: []string{testOrigin}, Rules: []fsm.Rule{withMembers},
		}
		h.broker.projects[testProject].Rules = []fsm.Rule{withMembers}
		for role, text := range map[fsm.Role]string{fsm.Viewer: "viewer-token", fsm.Operator: "operator-token"} {
			h.broker.admins[text] = fsm.AdminToken{ID: "adm-" + string(role), Role: role}
		}
		h.broker.admins["session-token"] = fsm.AdminToken{
			ID:     "adm-session",
			Role:   fsm.Owner,
			Parent: fsm.FirstAdminToken,
		}
	})
	foreign := h.broker.addKey(foreignProject, fsm.ServerKey)
	ended := h.broker.addKey(testProject, fsm.ServerKey)
	h.broker.endKey(ended)
	may := func(actions string) string { return `,"channels":{"*":[` + actions + `]}` }
	h.texts = map[string]string{
		"none": "", "malformed": "hello", "unknown": auth.NewKeyText(fsm.ServerKey), "ended": ended,
		"public": h.public, "server": h.secret,
		"foreign server": foreign, "foreign public": h.broker.addKey(foreignProject, fsm.PublicKey),
		"subscribe token": h.token(h.secret, time.Hour, may(`"subscribe"`)),
		"publish token":   h.token(h.secret, time.Hour, may(`"publish"`)),
		"expired token":   h.token(h.secret, -time.Hour, may(`"publish"`)),
		"forged token": testtoken.SwapPart(h.token(h.secret, time.Hour, may(`"publish"`)), 1,
			h.broker.claimsOf("key-001", time.Hour, may(`"publish","subscribe"`))),
		"foreign token": h.token(foreign, time.Hour, may(`"subscribe","publish","history"`)),
		"console token": h.consoleToken(&browser{h: h.harness}),
		"viewer":        "viewer-token", "operator": "operator-token", "owner": adminToken, "session": "session-token",
	}
	return h
}

// frame asks over WebSocket.
func (h *rightsHarness) frame(credential, kind string) refusal.Code {
	h.t.Helper()
	text := h.texts[credential]
	if credential == "session" {
		text = "" // a cookie, which the handshake does not look at
	}
	c := h.dial("Origin: " + testOrigin + "\r\n")
	defer c.socket.Close()
	c.text(`{"type":"auth","apiKey":%q}`, text)
	if f := c.next(); f.Code != "" {
		return f.Code
	}
	c.want("connected")
	switch kind {
	case "auth":
		return ""
	case "heartbeat":
		c.text(`{"type":"heartbeat"}`)
		c.wantSilence()
		return ""
	case "ping":
		c.text(`{"type":"ping","id":"1"}`)
		c.want("pong")
		return ""
	}
	c.text(`{"type":%q,"channel":%q,"message":%q,"action":"enter","id":"x"}`, kind, h.channel, credential)
	return c.next().Code
}

// request asks over HTTP with the credential wherever it could be meant to be.
func (h *rightsHarness) request(credential, route string) refusal.Code {
	h.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	path = strings.NewReplacer("{id}", "none").Replace(path)
	text := h.texts[credential]
	h.asked++
	header := []string{
		"X-Forwarded-For", netip.AddrFrom4([4]byte{10, 0, byte(h.asked >> 8), byte(h.asked)}).String(),
		"Content-Type", "application/json",
	}
	body := "{}"
	switch {
	case credential == "session":
		header = append(header, "Cookie", admin.SessionCookie+"="+text, admin.ConsoleHeader, "1")
	case text != "" && strings.HasPrefix(path, "/admin"):
		header = append(header, "Authorization", "Bearer "+text)
	case text != "":
		header = append(header, "X-Api-Key", text, "Origin", testOrigin)
	}
	switch path {
	case "/realtime":
		body = fmt.Sprintf(`{"channel":%q,"message":%q}`, h.channel, credential)
	case "/realtime/batch":
		body = fmt.Sprintf(`{"messages":[{"channel":%q,"message":%q}]}`, h.channel, credential)
	case "/realtime/sse":
		header = append(header, "Accept", "text/event-stream")
		if body = fmt.Sprintf(`{"channels":[{"name":%q}]}`, h.channel); method == "GET" {
			path += "?channel=" + h.channel
		}
		return h.streamed(method, path, body, header)
	case "/realtime/poll":
		path += "?wait=0&channel=" + h.channel
	case "/realtime/history", "/realtime/presence", "/realtime/channels":
		path += "?channel=" + h.channel
	}
	_, answer := h.do(method, path, body, header...)
	if results, ok := answer["results"].([]any); ok && len(results) == 1 {
		answer = results[0].(map[string]any)
	}
	code, _ := answer["code"].(string)
	if _, decides := outcomes[refusal.Code(code)]; !decides {
		return "" // something else was wrong: who asks was not
	}
	return refusal.Code(code)
}

// streamed asks for events, and waits for the first one.
func (h *rightsHarness) streamed(method, path, body string, header []string) refusal.Code {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.addr+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		e := &events{t: h.t, in: bufio.NewReader(res.Body)}
		e.want("subscribed")
		return ""
	}
	var answer refusalJSON
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		h.t.Fatal(err)
	}
	return answer.Code
}

// Whoever asks for whatever is answered as the table says, and what is not in the
// table is not there.
func TestRights(t *testing.T) {
	h := newRightsHarness(t)
	known := make(map[string]bool)
	for _, kind := range protocol.RequestKinds {
		known["frame "+kind] = true
	}
	for _, route := range h.server.admin.Routes() {
		known[route.Method+" /admin/v1"+route.Path] = true
	}
	routes := h.server.routes()
	for _, pattern := range slices.Concat(slices.Collect(maps.Keys(routes.Exact)),
		slices.Collect(maps.Keys(routes.Below))) {
		found := false
		for name := range rights {
			_, path, hasMethod := strings.Cut(name, " ")
			if hasMethod && path == pattern || name == pattern {
				found, known[name] = true, true
			}
		}
		if !found {
			t.Errorf("nobody says who may %s", pattern)
		}
	}
	for name := range known {
		if _, listed := rights[name]; !listed {
			t.Errorf("nobody says who may %s", name)
		}
	}
	for name, want := range rights {
		if !known[name] {
			t.Errorf("the table has %s, which is not there", name)
			continue
		}
		for i, credential := range credentials {
			if want == "" {
				break
			}
			var code refusal.Code
			if kind, isFrame := strings.CutPrefix(name, "frame "); isFrame {
				code = h.frame(credential, kind)
			} else {
				code = h.request(credential, name)
			}
			if got := outcomes[code]; got != want[i] {
				t.Errorf("%s with %s: %q, want %q", name, credential, string(got), string(want[i]))
			}
		}
	}

	// What was published went to the project of who published it, and nowhere else.
	published := func(project string) (by []string) {
		page, err := h.broker.Read(t.Context(), fsm.ChannelKey{Project: project, Name: h.channel}, 0, 100, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			by = append(by, strings.Trim(string(m.Data), `"`))
		}
		slices.Sort(by)
		return slices.Compact(by)
	}
	if by := published(testProject); !slices.Equal(by, []string{"publish token", "server"}) {
		t.Errorf("in the project: %q", by)
	}
	if by := published(foreignProject); !slices.Equal(by, []string{"foreign server", "foreign token"}) {
		t.Errorf("in the foreign project: %q", by)
	}
}

// What every publish of a backend pays.
func BenchmarkMayPublish(b *testing.B) {
	broker := newFakeBroker()
	b.Cleanup(broker.close)
	broker.projects[testProject] = &fsm.Project{ID: testProject}
	s := &Server{cfg: Config{Broker: broker, Limits: DefaultLimits()}, quotas: quota.NewCounter()}
	s.throttles = newThrottles(&s.cfg.Limits)
	c := &conn{
		loop: &loop{server: s},
		who:  unique.Make(auth.Principal{Kind: auth.ServerKey, KeyID: "key", Project: testProject}),
	}
	for b.Loop() {
		if c.may(auth.Publish, "c") != nil {
			b.Fatal("refused")
		}
	}
}

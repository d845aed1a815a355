package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// neededRoles says for every route of the admin API which role it takes.
var neededRoles = map[string]fsm.Role{
	"GET /whoami":                       fsm.Viewer,
	"GET /tokens":                       fsm.Owner,
	"POST /tokens":                      fsm.Owner,
	"DELETE /tokens/{id}":               fsm.Owner,
	"GET /audit":                        fsm.Viewer,
	"GET /projects":                     fsm.Viewer,
	"POST /projects":                    fsm.Operator,
	"GET /projects/{id}":                fsm.Viewer,
	"PATCH /projects/{id}":              fsm.Operator,
	"DELETE /projects/{id}":             fsm.Operator,
	"POST /projects/{id}/console-token": fsm.Viewer,
	"GET /projects/{id}/usage":          fsm.Viewer,
	"GET /projects/{id}/presence":       fsm.Viewer,
	"GET /usage":                        fsm.Viewer,
	"GET /refusals/rules":               fsm.Viewer,
	"POST /keys/{id}/token":             fsm.Operator,
	"POST /client-tokens/check":         fsm.Viewer,
	"POST /projects/{id}/keys":          fsm.Operator,
	"DELETE /keys/{id}":                 fsm.Operator,
	"POST /keys/{id}/rotate":            fsm.Operator,
	"GET /keys/{id}/connections":        fsm.Viewer,
	"POST /origins/check":               fsm.Viewer,
	"GET /projects/{id}/channels":       fsm.Viewer,
	"GET /projects/{id}/messages":       fsm.Viewer,
	"POST /projects/{id}/messages":      fsm.Operator,
	"DELETE /projects/{id}/messages":    fsm.Operator,
	"DELETE /projects/{id}/channels":    fsm.Operator,
	"GET /refusals":                     fsm.Viewer,
	"GET /connections":                  fsm.Viewer,
	"DELETE /connections/{id}":          fsm.Operator,
	"GET /settings":                     fsm.Viewer,
	"PATCH /settings":                   fsm.Owner,
	"GET /metrics/history":              fsm.Viewer,
	"GET /status":                       fsm.Viewer,
	"GET /diagnosis":                    fsm.Operator,
	"GET /backup":                       fsm.Owner,
	"DELETE /members":                   fsm.Owner,
}

// Every route asks for its role and for a live token: of a role below it answers
// 403, of that role or above anything else.
func TestEveryAdminRouteTakesItsRole(t *testing.T) {
	h := newHarness(t, "portable")
	tokens := map[fsm.Role]string{}
	h.broker.set(func() {
		for _, role := range []fsm.Role{fsm.Viewer, fsm.Operator, fsm.Owner} {
			tokens[role] = "token-of-" + string(role)
			h.broker.admins[tokens[role]] = fsm.AdminToken{ID: "adm_" + string(role), Name: string(role), Role: role}
		}
	})
	roles := []fsm.Role{fsm.Viewer, fsm.Operator, fsm.Owner}
	seen := make(map[string]bool)
	for _, route := range h.server.admin.Routes() {
		name := route.Method + " " + route.Path
		seen[name] = true
		needs, known := neededRoles[name]
		if !known {
			t.Errorf("%s: this test does not know which role it takes", name)
			continue
		}
		// Nothing that the path names is there, so nothing is changed.
		path := "/admin/v1" + strings.NewReplacer("{id}", "none", "{name}", "none").Replace(route.Path)
		do := func(token string) (int, any) {
			res, answer := h.do(route.Method, path, "", "Authorization", "Bearer "+token, "Content-Type", "application/json")
			return res.StatusCode, answer["code"]
		}
		for _, role := range roles {
			status, code := do(tokens[role])
			if refused := status == http.StatusForbidden && code == "forbidden"; refused != !role.Includes(needs) {
				t.Errorf("%s as %s: %d %v", name, role, status, code)
			}
			if status == http.StatusUnauthorized {
				t.Errorf("%s as %s is not let in: %v", name, role, code)
			}
		}
		for _, other := range []string{h.secret, h.public, "another"} {
			if status, code := do(other); status != http.StatusUnauthorized || code != "invalid_key" {
				t.Errorf("%s with %.6s: %d %v", name, other, status, code)
			}
		}
		if res, answer := h.do(route.Method, path, ""); res.StatusCode != http.StatusUnauthorized ||
			answer["code"] != "auth_required" {
			t.Errorf("%s without a token: %d %v", name, res.StatusCode, answer)
		}
	}
	for name := range neededRoles {
		if !seen[name] {
			t.Errorf("%s is no route any more", name)
		}
	}
}

// A misspelt filter must not answer with everything, nor a misspelt option of a
// change with the change.
func TestEveryAdminRouteRefusesUnknownNamesInItsQuery(t *testing.T) {
	h := newHarness(t, "portable")
	for _, route := range h.server.admin.Routes() {
		path := strings.NewReplacer("{id}", testProject, "{name}", "none").Replace(route.Path)
		for _, query := range []string{"?unheard=of", "?Limit=1", "?%zz"} {
			if status, answer := h.admin(route.Method, path+query, ""); status != 400 || answer["code"] != "invalid_message" {
				t.Errorf("%s %s%s: %d %v", route.Method, path, query, status, answer)
			}
		}
	}
	if status, _ := h.admin("GET", "/projects?limit=1&limit=2", ""); status != 400 {
		t.Errorf("a repeated name: %d", status)
	}
	if len(h.broker.Audit(0, 10)) != 0 {
		t.Errorf("something was done: %v", h.broker.Audit(0, 10))
	}
}

// What cannot be noted is not done: nobody would know who did it.
func TestActsBesideTheStateAreNotedFirst(t *testing.T) {
	h := newHarness(t, "portable")
	c := h.open(h.public)
	_, list := h.admin("GET", "/connections", "")
	id := list["connections"].([]any)[0].(map[string]any)["id"].(string)
	h.broker.set(func() { h.broker.noteErr = refusal.New(refusal.Unavailable, "no quorum") })
	for _, call := range [][2]string{
		{"DELETE", "/members?name=n2"},
		{"DELETE", "/connections/" + id},
		{"GET", "/backup"},
	} {
		if status, answer := h.admin(call[0], call[1], ""); status != 503 {
			t.Errorf("%s %s without a note: %d %v", call[0], call[1], status, answer)
		}
	}
	c.wantSilence()
	h.broker.set(func() {
		if len(h.broker.removed) != 0 {
			t.Errorf("removed %v", h.broker.removed)
		}
	})
}

// A node without its cluster answers operators at once: of itself, and of everything else with
// the reason. A session lives on.
func TestCutOffNodeAnswersOperatorsOnlyOfItself(t *testing.T) {
	const missing = "no majority for 7s: 1 of 3 nodes can be reached, n2, n3 missing"
	h := newHarness(t, "portable")
	b := &browser{h: h}
	b.signIn(adminToken)
	h.broker.set(func() { h.broker.staleness, h.broker.obstacle = RefuseAfter+time.Second, missing })
	for path, want := range map[string]int{
		"/status": 200, "/whoami": 200, "/diagnosis": 200, "/metrics/history": 200, "/projects": 503, "/audit": 503,
	} {
		if status, answer := h.admin("GET", path, ""); status != want || want == 503 && answer["error"] != missing {
			t.Errorf("%s: %d %v, want %d", path, status, answer, want)
		}
		b.wantStatus(want, "GET", "/admin/v1"+path, "")
	}
	for _, method := range []string{"POST", "DELETE"} {
		if res, answer := b.call(method, "/console/session", `{"token":"`+adminToken+`"}`); res.StatusCode != 503 ||
			answer["error"] != missing {
			t.Errorf("%s of a session: %d %v", method, res.StatusCode, answer)
		}
	}
	b.wantStatus(200, "GET", "/admin/v1/whoami", "")
	if res, _ := h.do("GET", "/readyz", ""); res.StatusCode != 503 || res.Header.Get("Retry-After") != "" {
		t.Errorf("/readyz says %s, and when to try again: %v", res.Status, res.Header)
	}
	c := h.dial("Origin: " + testOrigin + "\r\n")
	c.text(`{"type":"auth","apiKey":"%s","timestamp":1}`, h.public)
	if f := c.next(); f.close != 1013 || f.raw != missing {
		t.Errorf("closed with %d %q", f.close, f.raw)
	}
}

// A node that waits for its cluster lets operators in where it can judge their tokens.
func TestStartingNodeAnswersOperators(t *testing.T) {
	h := newHarness(t, "portable")
	early, waiting := h.unopened(prometheus.NewRegistry())
	h.broker.set(func() { h.broker.obstacle = "no leader for 5s" })
	want := func(path string, want int) {
		t.Helper()
		status, answer := early.admin("GET", path, "")
		if status != want || want == 503 && answer["error"] != "node is starting: no leader for 5s" {
			t.Errorf("%s: %d %v, want %d", path, status, answer, want)
		}
	}
	want("/status", 503)
	waiting.OpenToOperators()
	want("/status", 200)
	want("/whoami", 200)
	want("/projects", 503)
	if res, _ := early.do("GET", "/readyz", ""); res.Header.Get("Retry-After") == "" {
		t.Error("/readyz does not say that a start passes")
	}
	for path, want := range map[string]int{"/metrics": 200, "/realtime": 503, "/readyz": 503, "/": 503} {
		if res, _ := early.do("GET", path, ""); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
	waiting.Open()
	want("/projects", 200)
}

func TestGuessesOfAdminTokensAreSlowed(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.TrustedProxies = append(c.TrustedProxies, prefix("127.0.0.0/8")) })
	try := func(address, token string) (*http.Response, any) {
		res, answer := h.do("GET", "/admin/v1/whoami", "", "Authorization", "Bearer "+token, "X-Forwarded-For", address)
		return res, answer["code"]
	}
	for i := range admin.GuessBurst {
		if res, code := try("192.0.2.1", fmt.Sprintf("guess-%d", i)); res.StatusCode != 401 {
			t.Fatalf("guess %d: %d %v", i, res.StatusCode, code)
		}
	}
	// Within the second that a further guess takes, even the right token tells nothing.
	res, code := try("192.0.2.1", adminToken)
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); res.StatusCode != 429 || code != "rate_limited" ||
		err != nil || seconds < 1 {
		t.Errorf("after %d wrong ones: %d %v, %s", admin.GuessBurst, res.StatusCode, code, res.Header)
	}
	if res, code := try("192.0.2.2", adminToken); res.StatusCode != 200 {
		t.Errorf("from another address: %d %v", res.StatusCode, code)
	}
	// A host has all addresses of its /64.
	for i := range admin.GuessBurst {
		try(fmt.Sprintf("2001:db8:1:2:%x::1", i+1), fmt.Sprint("another guess ", i))
	}
	if res, code := try("2001:db8:1:2:ffff::9", adminToken); res.StatusCode != 429 {
		t.Errorf("from another address of the same /64: %d %v", res.StatusCode, code)
	}
	if res, code := try("2001:db8:1:3::1", adminToken); res.StatusCode != 200 {
		t.Errorf("from another /64: %d %v", res.StatusCode, code)
	}
}

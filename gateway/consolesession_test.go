package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// browser is a page of the console: it has a cookie and says where it comes from.
type browser struct {
	h      *harness
	cookie *http.Cookie
}

// call makes a call as the console's own page, but for the headers given.
func (b *browser) call(method, path, body string, header ...string) (*http.Response, map[string]any) {
	headers := map[string]string{
		"Content-Type": "application/json", admin.ConsoleHeader: "1",
		"Sec-Fetch-Site": "same-origin", "Origin": "http://" + b.h.addr,
	}
	if b.cookie != nil {
		headers["Cookie"] = b.cookie.Name + "=" + b.cookie.Value
	}
	for i := 0; i+1 < len(header); i += 2 {
		headers[header[i]] = header[i+1]
	}
	var flat []string
	for name, value := range headers {
		if value != "" {
			flat = append(flat, name, value)
		}
	}
	return b.h.do(method, path, body, flat...)
}

// signIn signs in and keeps the cookie as a browser does.
func (b *browser) signIn(token string) *http.Response {
	b.h.t.Helper()
	res, _ := b.call("POST", "/console/session", `{"token":"`+token+`"}`)
	for _, cookie := range res.Cookies() {
		b.cookie = cookie
	}
	return res
}

func (b *browser) wantStatus(want int, method, path, body string, header ...string) {
	b.h.t.Helper()
	if res, answer := b.call(method, path, body, header...); res.StatusCode != want {
		b.h.t.Errorf("%s %s %q: %d %v, want %d", method, path, header, res.StatusCode, answer, want)
	}
}

func TestConsoleSignsInAndOut(t *testing.T) {
	h := newHarness(t, "portable")
	b := &browser{h: h}
	b.wantStatus(401, "GET", "/admin/v1/projects", "")
	if res := b.signIn(adminToken); res.StatusCode != 204 {
		t.Fatalf("sign-in: %s", res.Status)
	}
	c := b.cookie
	if c.Name != "aptlyd_session" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" ||
		c.Secure || c.MaxAge != 12*3600 || c.Domain != "" {
		t.Errorf("cookie %+v", c)
	}
	if strings.Contains(c.Value, adminToken) {
		t.Error("the cookie holds the admin token")
	}
	b.wantStatus(201, "POST", "/admin/v1/projects", `{"name":"by cookie"}`)
	if last := h.broker.Audit(0, 1)[0].By; last.ID != fsm.FirstAdminToken || last.Via != "console" {
		t.Errorf("the change was made by %+v", last)
	}

	if res, _ := b.call("DELETE", "/console/session", ""); res.StatusCode != 204 || res.Cookies()[0].MaxAge >= 0 {
		t.Errorf("sign-out: %s %v", res.Status, res.Cookies())
	}
	b.wantStatus(401, "GET", "/admin/v1/projects", "") // the same cookie again
	b.wantStatus(204, "DELETE", "/console/session", "")
}

func TestConsoleSessionsAreForTheConsoleOnly(t *testing.T) {
	h := newHarness(t, "portable")
	b := &browser{h: h}
	b.signIn(adminToken)
	const body = `{"name":"forged"}`
	for _, forged := range [][]string{
		{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
		{"Origin", "https://evil.example", "Sec-Fetch-Site", ""}, // an old browser
		{"Origin", "", "Sec-Fetch-Site", "cross-site"},
		{"Origin", "null", "Sec-Fetch-Site", ""},
		{"Origin", "http://localhost:1", "Sec-Fetch-Site", "same-site"},
		{admin.ConsoleHeader, ""}, // a form or an image
	} {
		b.wantStatus(403, "POST", "/admin/v1/projects", body, forged...)
		b.wantStatus(403, "GET", "/admin/v1/projects", "", forged...)
		b.wantStatus(403, "POST", "/console/session", `{"token":"`+adminToken+`"}`, forged...)
		b.wantStatus(403, "DELETE", "/console/session", "", forged...)
	}
	b.wantStatus(200, "GET", "/admin/v1/projects", "", "Origin", "", "Sec-Fetch-Site", "")
	// The session's text is no admin token, and the admin token no session.
	b.wantStatus(401, "GET", "/admin/v1/projects", "", "Cookie", "", "Authorization", "Bearer "+b.cookie.Value)
	b.wantStatus(401, "POST", "/console/session", `{"token":"`+b.cookie.Value+`"}`)
	b.wantStatus(401, "GET", "/admin/v1/projects", "", "Cookie", admin.SessionCookie+"="+adminToken)
	b.wantStatus(401, "GET", "/admin/v1/projects", "", "Cookie",
		admin.SessionCookie+"="+b.cookie.Value+"; "+admin.SessionCookie+"=x")
}

func TestConsoleSessionIsNewAtEachSignIn(t *testing.T) {
	h := newHarness(t, "portable")
	planted := &browser{h: h, cookie: &http.Cookie{Name: admin.SessionCookie, Value: "planted-by-an-attacker"}}
	planted.signIn(adminToken)
	if planted.cookie.Value == "planted-by-an-attacker" {
		t.Fatal("the session was not chosen by the node")
	}
	first := *planted.cookie
	planted.signIn(adminToken)
	if planted.cookie.Value == first.Value {
		t.Error("two sign-ins share a session")
	}
	old := &browser{h: h, cookie: &first}
	old.wantStatus(401, "GET", "/admin/v1/projects", "")
	planted.wantStatus(200, "GET", "/admin/v1/projects", "")
}

// Whoever signs in anew and fails stays signed in, and nobody is left with a
// session whose cookie is lost.
func TestSessionOutlivesASignInThatFails(t *testing.T) {
	h := newHarness(t, "portable")
	b := &browser{h: h}
	b.signIn(adminToken)
	first := b.cookie
	for name, fail := range map[string]func(error){
		"making the new one": func(err error) { h.broker.createErr = err },
		"ending the old one": func(err error) { h.broker.revokeErr = err },
	} {
		h.broker.set(func() { fail(refusal.New(refusal.Unavailable, "no quorum")) })
		if res := b.signIn(adminToken); res.StatusCode != 503 || b.cookie != first {
			t.Errorf("%s: %s, %v", name, res.Status, res.Cookies())
		}
		b.wantStatus(200, "GET", "/admin/v1/projects", "")
		h.broker.set(func() { fail(nil) })
	}
	// The old one may end by itself on the way.
	h.broker.set(func() { h.broker.revokeErr = refusal.New(refusal.NotFound, "no such admin token") })
	if res := b.signIn(adminToken); res.StatusCode != 204 || b.cookie == first {
		t.Errorf("when the old one has ended: %s", res.Status)
	}
}

func TestConsoleSessionHasTheRoleOfItsToken(t *testing.T) {
	h := newHarness(t, "portable")
	_, made := h.admin("POST", "/tokens", `{"name":"ada","role":"viewer"}`)
	b := &browser{h: h}
	b.signIn(made["token"].(string))
	if _, me := b.call("GET", "/admin/v1/whoami", ""); me["name"] != "ada" || me["role"] != "viewer" ||
		me["expiresAt"] == nil {
		t.Errorf("signed in as %v", me)
	}
	for _, route := range h.server.admin.Routes() {
		want := route.Needs != fsm.Viewer
		path := strings.NewReplacer("{id}", "x", "{name}", "x").Replace(route.Path)
		res, answer := b.call(route.Method, "/admin/v1"+path, "")
		if refused := answer["code"] == string(refusal.Forbidden); refused != want {
			t.Errorf("a viewer's %s %s: %s %v", route.Method, path, res.Status, answer)
		}
	}
}

func TestConsoleSignInSlowsGuessing(t *testing.T) {
	h := newHarness(t, "portable")
	b := &browser{h: h}
	for i := range admin.GuessBurst {
		b.wantStatus(401, "POST", "/console/session", fmt.Sprintf(`{"token":"wrong %d"}`, i))
	}
	res, _ := b.call("POST", "/console/session", `{"token":"`+adminToken+`"}`)
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("after %d wrong tokens: %s", admin.GuessBurst, res.Status)
	}
	for _, body := range []string{`{}`, `{"token":""}`, `{"token":1}`, `{"token":"a","token":"b"}`, `nonsense`} {
		(&browser{h: newHarness(t, "portable")}).wantStatus(400, "POST", "/console/session", body)
	}
	b.wantStatus(405, "GET", "/console/session", "")
}

func TestConsoleCookieOverTLS(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.TrustedProxies = append(c.TrustedProxies, prefix("127.0.0.0/8")) })
	b := &browser{h: h}
	over := []string{"X-Forwarded-Proto", "https", "Origin", "https://" + h.addr}
	res, _ := b.call("POST", "/console/session", `{"token":"`+adminToken+`"}`, over...)
	if res.StatusCode != 204 {
		t.Fatalf("sign-in: %s", res.Status)
	}
	b.cookie = res.Cookies()[0]
	if b.cookie.Name != "__Host-aptlyd_session" || !b.cookie.Secure || b.cookie.Path != "/" {
		t.Errorf("cookie %+v", b.cookie)
	}
	b.wantStatus(200, "GET", "/admin/v1/projects", "", over...)
	b.wantStatus(401, "GET", "/admin/v1/projects", "")
}

func TestSignInsOfATokenAreBounded(t *testing.T) {
	h := newHarness(t, "portable")
	for i := range admin.SignInBurst {
		if res := (&browser{h: h}).signIn(adminToken); res.StatusCode != 204 {
			t.Fatalf("sign-in %d: %s", i+1, res.Status)
		}
	}
	b := &browser{h: h}
	if res := b.signIn(adminToken); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" || b.cookie != nil {
		t.Errorf("one too many: %s, %v", res.Status, res.Header)
	}
	if status, answer := h.admin("GET", "/whoami", ""); status != 200 {
		t.Errorf("the token itself: %d %v", status, answer)
	}
}

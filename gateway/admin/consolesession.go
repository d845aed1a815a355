package admin

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/origin"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// A console session is an admin token of its own. It is made at sign-in and ends with the token
// that signed in. The browser holds it in a cookie that pages cannot read. It ends in the
// cluster's state, so a copy of the cookie is worth nothing after sign-out, on any node.

const (
	sessionLifetime = 12 * time.Hour
	maxSignInBytes  = 8 << 10 // of the body that signs in
	// SignInBurst is how often a token may sign in at once; signInRate is how often more each
	// second. Each sign-in is a record in the bounded audit: a viewer must not be able to push
	// all other records out.
	SignInBurst = 20
	signInRate  = 0.02
	// SessionCookie is the name of the cookie with the session over plain HTTP.
	SessionCookie = "aptlyd_session"
	// ConsoleHeader comes with every call of the console. A page of another origin
	// cannot send it without a preflight, which the admin API does not answer.
	ConsoleHeader = "X-Aptlyd-Console"
)

var signInShape = strictjson.Shape{Strict: true, Names: []string{"token"}}

// ServeSession serves /console/session: POST signs in, DELETE signs out.
func (h *Handler) ServeSession(w http.ResponseWriter, r *http.Request) {
	var refused *refusal.Error
	switch {
	case r.Method != http.MethodPost && r.Method != http.MethodDelete:
		w.Header().Set("Allow", "DELETE, POST")
		refused = refusal.MethodNotAllowed()
	case !h.fromConsole(r):
		refused = h.refuseForeign(r)
	default:
		// A session begins and ends in the cluster's state, so that nothing else can be tried.
		refused = h.cfg.Stale()
	}
	if refused == nil && r.Method == http.MethodPost {
		refused = h.signIn(w, r)
	} else if refused == nil {
		refused = h.signOut(w, r)
	}
	if refused != nil {
		h.refuse(w, r, refused)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// signIn exchanges an admin token for a new session. The browser's session before it ends,
// since its cookie is overwritten.
func (h *Handler) signIn(w http.ResponseWriter, r *http.Request) *refusal.Error {
	var values [1][]byte
	r.Body = http.MaxBytesReader(w, r.Body, maxSignInBytes)
	if err := h.body(r, &signInShape, values[:]); err != nil {
		return h.cfg.RefusalOf(err, "sign in")
	}
	text, ok := strictjson.Unquote(values[0])
	if !ok || text == "" {
		return refusal.New(refusal.InvalidMessage, "token is not a string")
	}
	address := h.cfg.Proxies.RequestClient(r)
	token, refused := h.adminToken(address, text)
	if refused != nil {
		return refused
	}
	if wait := h.signIns.Take(token.ID, ratelimit.PerSecond(signInRate, SignInBurst)); wait > 0 {
		return &refusal.Error{Code: refusal.RateLimited, Reason: "too many sign-ins with this admin token", RetryAfter: wait}
	}
	by := operator{token: token, address: address, via: "console"}.actor()
	_, session, err := h.cfg.Broker.CreateAdminToken(r.Context(), by, TokenSpec{
		Name: token.Name, Role: token.Role, Parent: token.ID, Lifetime: sessionLifetime,
	})
	if err != nil {
		return h.cfg.RefusalOf(err, "sign in")
	}
	// The old session ends after the new one was made and before its cookie is sent. After a
	// failure the browser still has the old one.
	if refused := h.endSession(r); refused != nil {
		return refused
	}
	http.SetCookie(w, h.newCookie(r, session, int(sessionLifetime/time.Second)))
	return nil
}

// signOut ends the session of a request and takes its cookie back.
func (h *Handler) signOut(w http.ResponseWriter, r *http.Request) *refusal.Error {
	if refused := h.endSession(r); refused != nil {
		return refused
	}
	if len(r.CookiesNamed(h.cookieName(r))) > 0 {
		http.SetCookie(w, h.newCookie(r, "", -1))
	}
	return nil
}

// endSession ends the session of a request, if it has one.
func (h *Handler) endSession(r *http.Request) *refusal.Error {
	session, found := h.session(r)
	if !found {
		return nil
	}
	by := operator{token: session, address: h.cfg.Proxies.RequestClient(r), via: "console"}.actor()
	err := h.cfg.Broker.RevokeAdminToken(r.Context(), by, session.ID)
	if err == nil {
		return nil
	}
	refused := h.cfg.RefusalOf(err, "end session")
	if refused.Code == refusal.NotFound {
		return nil // ended by itself meanwhile
	}
	return refused
}

// session returns the live session of a request's cookie.
func (h *Handler) session(r *http.Request) (fsm.AdminToken, bool) {
	cookies := r.CookiesNamed(h.cookieName(r))
	if len(cookies) != 1 {
		return fsm.AdminToken{}, false
	}
	token, found := h.cfg.Broker.AdminToken(cookies[0].Value)
	return token, found && token.Parent != ""
}

// sessionOperator authenticates a call of the console by its cookie.
func (h *Handler) sessionOperator(r *http.Request) (operator, *refusal.Error) {
	token, found := h.session(r)
	switch {
	case !found:
		return operator{}, refusal.New(refusal.AuthRequired, "an admin token is required")
	case !h.fromConsole(r):
		return operator{}, h.refuseForeign(r)
	}
	return operator{token: token, address: h.cfg.Proxies.RequestClient(r), via: "console"}, nil
}

// fromConsole reports whether a request was made by the console's own page, which a cookie
// alone does not show. Sec-Fetch-Site is believed: no page can set it, and the browser knows
// the host before proxies changed it. Over plain HTTP browsers do not send it.
func (h *Handler) fromConsole(r *http.Request) bool {
	if r.Header.Get(ConsoleHeader) != "1" {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return len(r.Header.Values("Sec-Fetch-Site")) == 1
	case "", "none":
	default:
		return false
	}
	origins := r.Header.Values("Origin")
	return len(origins) == 0 || len(origins) == 1 && origin.IsOwn(origins[0], h.cfg.Proxies.RequestHost(r))
}

// refuseForeign refuses a call of another page, and names that page: behind a proxy that
// changes the Host the console's own page looks like another one.
func (h *Handler) refuseForeign(r *http.Request) *refusal.Error {
	reason := "a console session is for calls of the console's own page only"
	if origin := r.Header.Get("Origin"); origin != "" {
		reason += fmt.Sprintf(": this page is of %s and the call came to %s; "+
			"where a proxy is between, it must keep the Host header "+
			"with its port, or send X-Forwarded-Host and be in --trusted-proxies",
			refusal.Clip(origin), refusal.Clip(h.cfg.Proxies.RequestHost(r)))
	}
	return refusal.New(refusal.Forbidden, reason)
}

func (h *Handler) newCookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: h.cookieName(r), Value: value, Path: "/", MaxAge: maxAge,
		Secure: h.overTLS(r), HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// cookieName returns the name of the session's cookie. Over TLS it has the prefix with which
// browsers keep other hosts from setting it.
func (h *Handler) cookieName(r *http.Request) string {
	if h.overTLS(r) {
		return "__Host-" + SessionCookie
	}
	return SessionCookie
}

// overTLS reports whether the browser speaks TLS, to this node or to the first trusted
// proxy.
func (h *Handler) overTLS(r *http.Request) bool {
	return h.cfg.TLS || h.cfg.Proxies.Trust(clientaddr.HostOf(r.RemoteAddr)) &&
		strings.EqualFold(clientaddr.First(r.Header.Values("X-Forwarded-Proto")), "https")
}

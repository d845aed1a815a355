package gateway

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

// A console session is an admin token of its own, made at sign-in and ended with
// the token that signed in. The browser holds it in a cookie that pages cannot
// read; the state is what it ends in, so a copy of the cookie is worth nothing
// after sign-out, on any node.

const (
	sessionLifetime = 12 * time.Hour
	// Each sign-in is a record in the audit, which is bounded: a token may sign in
	// signInBurst times at once and signInRate more each second, lest a viewer
	// push everybody's records out.
	signInBurst   = 20
	signInRate    = 0.02
	sessionCookie = "aptlyd_session"
	// consoleHeader comes with every call of the console. A page of another origin
	// cannot send it without a preflight, which the admin API does not answer.
	consoleHeader = "X-Aptlyd-Console"
)

var signInShape = strictjson.Shape{Strict: true, Names: []string{"token"}}

// consoleSession serves /console/session: POST signs in, DELETE signs out.
func (s *Server) consoleSession(w http.ResponseWriter, r *http.Request) {
	var refused *refusal.Error
	switch {
	case r.Method != http.MethodPost && r.Method != http.MethodDelete:
		w.Header().Set("Allow", "DELETE, POST")
		refused = refusal.MethodNotAllowed()
	case !s.fromConsole(r):
		refused = s.refuseForeign(r)
	case r.Method == http.MethodPost:
		refused = s.signIn(w, r)
	default:
		refused = s.signOut(w, r)
	}
	if refused != nil {
		s.refuseAdmin(w, r, refused)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// signIn exchanges an admin token for a new session. A session that the browser
// had before ends: its cookie is overwritten, and nobody else has a use for it.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) *refusal.Error {
	var values [1][]byte
	r.Body = http.MaxBytesReader(w, r.Body, maxStrangerBytes)
	if err := s.adminBody(r, &signInShape, values[:]); err != nil {
		return s.refusalOf(err, "sign in")
	}
	text, ok := strictjson.Unquote(values[0])
	if !ok || text == "" {
		return refusal.New(refusal.InvalidMessage, "token is not a string")
	}
	address := s.proxies.RequestClient(r)
	token, refused := s.adminToken(address, text)
	if refused != nil {
		return refused
	}
	if wait := s.signIns.Take(token.ID, ratelimit.PerSecond(signInRate, signInBurst)); wait > 0 {
		return &refusal.Error{Code: refusal.RateLimited, Reason: "too many sign-ins with this admin token", RetryAfter: wait}
	}
	by := operator{token: token, address: address, via: "console"}.actor()
	_, session, err := s.cfg.Broker.CreateAdminToken(r.Context(), by, AdminTokenSpec{
		Name: token.Name, Role: token.Role, Parent: token.ID, Lifetime: sessionLifetime,
	})
	if err != nil {
		return s.refusalOf(err, "sign in")
	}
	// Only when there is a new one; and before the cookie is sent, so that after a
	// failure the browser still has the old one, and nobody the new one.
	if refused := s.endSession(r); refused != nil {
		return refused
	}
	http.SetCookie(w, s.newCookie(r, session, int(sessionLifetime/time.Second)))
	return nil
}

// signOut ends the session of a request and takes its cookie back.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) *refusal.Error {
	if refused := s.endSession(r); refused != nil {
		return refused
	}
	if len(r.CookiesNamed(s.cookieName(r))) > 0 {
		http.SetCookie(w, s.newCookie(r, "", -1))
	}
	return nil
}

// endSession ends the session of a request, if it has one.
func (s *Server) endSession(r *http.Request) *refusal.Error {
	session, found := s.session(r)
	if !found {
		return nil
	}
	by := operator{token: session, address: s.proxies.RequestClient(r), via: "console"}.actor()
	err := s.cfg.Broker.RevokeAdminToken(r.Context(), by, session.ID)
	if err == nil {
		return nil
	}
	refused := s.refusalOf(err, "end session")
	if refused.Code == refusal.NotFound {
		return nil // ended by itself meanwhile
	}
	return refused
}

// session returns the live session whose cookie a request carries.
func (s *Server) session(r *http.Request) (fsm.AdminToken, bool) {
	cookies := r.CookiesNamed(s.cookieName(r))
	if len(cookies) != 1 {
		return fsm.AdminToken{}, false
	}
	token, found := s.cfg.Broker.AdminToken(cookies[0].Value)
	return token, found && token.Parent != ""
}

// sessionOperator authenticates a call of the console by its cookie.
func (s *Server) sessionOperator(r *http.Request) (operator, *refusal.Error) {
	token, found := s.session(r)
	switch {
	case !found:
		return operator{}, refusal.New(refusal.AuthRequired, "an admin token is required")
	case !s.fromConsole(r):
		return operator{}, s.refuseForeign(r)
	}
	return operator{token: token, address: s.proxies.RequestClient(r), via: "console"}, nil
}

// fromConsole reports whether a request was made by the console's own page, which
// a cookie alone does not show. A browser that says that the page is of the same
// origin is believed: no page can send Sec-Fetch-Site, and it knows what was asked for
// before proxies changed the Host. Over plain HTTP browsers do not say it.
func (s *Server) fromConsole(r *http.Request) bool {
	if r.Header.Get(consoleHeader) != "1" {
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
	return len(origins) == 0 || len(origins) == 1 && origin.IsOwn(origins[0], s.proxies.RequestHost(r))
}

// refuseForeign says also whose page it was, since a proxy that changes the Host makes
// the console's own page look like another's.
func (s *Server) refuseForeign(r *http.Request) *refusal.Error {
	reason := "a console session is for calls of the console's own page only"
	if origin := r.Header.Get("Origin"); origin != "" {
		reason += fmt.Sprintf(": this page is of %s and the call came to %s; where a proxy is between, it must keep the Host header "+
			"with its port, or send X-Forwarded-Host and be in --trusted-proxies", refusal.Clip(origin), refusal.Clip(s.proxies.RequestHost(r)))
	}
	return refusal.New(refusal.Forbidden, reason)
}

func (s *Server) newCookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: s.cookieName(r), Value: value, Path: "/", MaxAge: maxAge,
		Secure: s.overTLS(r), HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// cookieName is under the prefix by which browsers keep others from setting the
// cookie; they take it over TLS only.
func (s *Server) cookieName(r *http.Request) string {
	if s.overTLS(r) {
		return "__Host-" + sessionCookie
	}
	return sessionCookie
}

// overTLS reports whether the browser speaks TLS, to this node or to the first of
// trusted proxies before it.
func (s *Server) overTLS(r *http.Request) bool {
	return s.cfg.TLS != nil || s.proxies.Trust(clientaddr.HostOf(r.RemoteAddr)) && strings.EqualFold(clientaddr.First(r.Header.Values("X-Forwarded-Proto")), "https")
}

package admin

import (
	"net/http"
	"strings"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// operator is the author of a call of the admin API.
type operator struct {
	token   fsm.AdminToken
	address string
	via     string
}

// actor returns the operator as the author of a change.
func (op operator) actor() fsm.Actor {
	id := op.token.ID
	if op.token.Parent != "" {
		id = op.token.Parent
	}
	return fsm.Actor{ID: id, Name: op.token.Name, Address: op.address, Via: op.via, Token: op.token.ID}
}

// principal returns the operator as a principal.
func (op operator) principal() auth.Principal {
	return auth.Principal{Kind: auth.Admin, KeyID: op.actor().ID, Role: op.token.Role}
}

type operatorKey struct{}

// operatorOf returns the operator of a call that serve has authenticated.
func operatorOf(r *http.Request) operator { return r.Context().Value(operatorKey{}).(operator) }

// actorOf returns the operator of a call as the author of a change.
func actorOf(r *http.Request) fsm.Actor { return operatorOf(r).actor() }

// An address may send GuessBurst wrong admin tokens at once and guessRate more each second.
const (
	GuessBurst = 10
	guessRate  = 1
	// maxWrongAdminTokens bounds those that are remembered.
	maxWrongAdminTokens = 1 << 12
)

// cliAgent begins the User-Agent of the command line.
const cliAgent = "aptlyd-cli"

// authenticate returns the operator of a request: by its admin token, or by its console session
// when it has no token.
func (h *Handler) authenticate(r *http.Request) (operator, *refusal.Error) {
	if len(r.Header.Values("Authorization")) > 1 {
		return operator{}, refusal.New(refusal.InvalidMessage, "repeated header")
	}
	if r.Header.Get("Authorization") == "" {
		return h.sessionOperator(r)
	}
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if text = strings.TrimLeft(text, " "); !strings.EqualFold(scheme, "Bearer") || text == "" {
		return operator{}, refusal.New(refusal.AuthRequired, "an admin token is required")
	}
	op := operator{address: h.cfg.Proxies.RequestClient(r), via: "api"}
	if strings.HasPrefix(r.UserAgent(), cliAgent) {
		op.via = "cli"
	}
	var refused *refusal.Error
	op.token, refused = h.adminToken(op.address, text)
	return op, refused
}

// adminToken returns the admin token with a text. The text of a console session is refused: it
// is good in its cookie only. An address that guesses too often does not learn whether its next
// guess is right. A repeated text is no new guess: a script with a revoked token must not lock
// out the operators behind its address.
func (h *Handler) adminToken(address, text string) (fsm.AdminToken, *refusal.Error) {
	guesses, guesser, hash := ratelimit.PerSecond(guessRate, GuessBurst), clientaddr.NetworkOf(address), fsm.HashKey(text)
	known := h.wrongAdminTokens.Has(hash)
	if wait := h.guesses.Wait(guesser, guesses); wait > 0 && !known {
		return fsm.AdminToken{}, &refusal.Error{
			Code: refusal.RateLimited, Reason: "too many wrong admin tokens from this address", RetryAfter: wait,
		}
	}
	if token, ok := h.cfg.Broker.AdminToken(text); ok && token.Parent == "" {
		return token, nil
	}
	if !known {
		h.guesses.Take(guesser, guesses)
		h.wrongAdminTokens.Add(hash)
	}
	return fsm.AdminToken{}, refusal.New(refusal.InvalidKey, "the admin token is not valid")
}

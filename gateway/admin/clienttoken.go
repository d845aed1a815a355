package admin

import (
	"cmp"
	"encoding/json"
	"net/http"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// Lifetimes of tokens for clients that operators make, to try something out.
const (
	defaultTokenLife = 15 * time.Minute
	maxTokenLife     = 24 * time.Hour
)

var mintShape = strictjson.Shape{Strict: true, Names: []string{"sub", "channels", "origins", "lifetime"}}

// mintToken serves POST /keys/{id}/token: a token as a backend with the signing secret of the
// server key would sign it.
func (h *Handler) mintToken(r *http.Request) (int, any, error) {
	var values [4][]byte
	if err := h.body(r, &mintShape, values[:]); err != nil {
		return 0, nil, err
	}
	key, found := h.cfg.Broker.KeyByID(r.PathValue("id"))
	if !found {
		return 0, nil, refusal.New(refusal.NotFound, "no such key")
	}
	if key.Kind != fsm.ServerKey {
		return 0, nil, refusal.New(refusal.InvalidMessage, "only a server key signs tokens")
	}
	life := defaultTokenLife
	if values[3] != nil {
		var err error
		if life, err = parseDuration(values[3]); err != nil || life < time.Second || life > maxTokenLife {
			return 0, nil, refusal.New(refusal.InvalidMessage, "lifetime is not a duration from 1s to 24h")
		}
	}
	secret, found := h.cfg.Broker.SigningSecret(key.ID)
	if !found {
		return 0, nil, &refusal.Error{
			Code: refusal.Unavailable, Reason: "this node cannot read the signing secret of the key", RetryAfter: time.Second,
		}
	}
	expires := time.UnixMilli(h.cfg.Broker.Stamp()).Add(life).Truncate(time.Second)
	claims := make(map[string]json.RawMessage)
	for i, name := range []string{"sub", "channels", "origins"} {
		if values[i] != nil {
			claims[name] = values[i]
		}
	}
	text, err := auth.SignToken(secret, key.ID, expires, claims)
	if err != nil {
		return 0, nil, err
	}
	// What a client could not use is not handed out.
	if _, err := auth.ReadToken(text, h.cfg.Broker); err != nil {
		return 0, nil, refusal.New(refusal.InvalidMessage, err.Error())
	}
	if err := h.cfg.Broker.Note(r.Context(), actorOf(r), "token.mint", key.ID); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, struct {
		Token     string `json:"token"`
		ExpiresAt int64  `json:"expiresAt"`
	}{text, expires.UnixMilli()}, nil
}

var tokenCheckShape = strictjson.Shape{Strict: true, Names: []string{"token", "channel", "origin"}}

// tokenVerdict says what a key or a token of a client is good for.
type tokenVerdict struct {
	Valid     bool            `json:"valid"`
	Reason    string          `json:"reason"`
	Code      refusal.Code    `json:"code,omitempty"` // that a client would get
	Kind      string          `json:"kind,omitempty"`
	KeyID     string          `json:"keyId,omitempty"`
	Project   string          `json:"project,omitempty"`
	Subject   string          `json:"sub,omitempty"`
	ExpiresAt int64           `json:"expiresAt,omitempty"` // Unix ms, with the leeway
	Actions   []actionVerdict `json:"actions,omitempty"`   // where a channel was given
}

type actionVerdict struct {
	Action  string `json:"action"`
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason,omitempty"`
}

// checkToken serves POST /client-tokens/check. It judges as for a client, and nothing is
// counted as its attempt.
func (h *Handler) checkToken(r *http.Request) (int, any, error) {
	var values [3][]byte
	if err := h.body(r, &tokenCheckShape, values[:]); err != nil {
		return 0, nil, err
	}
	text, ok := strictjson.Unquote(values[0])
	if !ok || text == "" {
		return 0, nil, refusal.New(refusal.InvalidMessage, "token is not a string")
	}
	channel, _ := strictjson.Unquote(values[1])
	from, _ := strictjson.Unquote(values[2])
	if channel != "" {
		if refused := auth.CheckChannel(channel); refused != nil {
			return 0, nil, refused
		}
	}
	return http.StatusOK, h.judgeToken(text, channel, from, h.cfg.Proxies.RequestHost(r)), nil
}

func (h *Handler) judgeToken(text, channel, from, host string) tokenVerdict {
	who, failed := auth.Identify(text, h.cfg.Broker)
	if failed != nil {
		refused := failed.Refusal
		return tokenVerdict{
			Reason:  cmp.Or(refused.Detail, refused.Reason),
			Code:    refused.Code,
			KeyID:   who.KeyID,
			Project: who.Project,
		}
	}
	verdict := tokenVerdict{Kind: who.Credential(), KeyID: who.KeyID, Project: who.Project}
	project, _ := h.cfg.Broker.Project(who.Project)
	if who.Token != nil {
		verdict.Subject, verdict.ExpiresAt = who.Token.Subject(), who.Token.EndsAt
	}
	if refused := auth.Authorise(who, auth.Connect, project, ""); refused != nil {
		verdict.Reason, verdict.Code = refused.Reason, refused.Code
		return verdict
	}
	if refused := auth.CheckOrigin(who, from, host, project); from != "" && refused != nil {
		verdict.Reason, verdict.Code = refused.Detail, refused.Code
		return verdict
	}
	verdict.Valid, verdict.Reason = true, "a client may connect with it"
	if channel == "" {
		return verdict
	}
	for _, do := range auth.ChannelActions() {
		action := actionVerdict{Action: do.String(), Allowed: true}
		if refused := auth.Authorise(who, do, project, channel); refused != nil {
			action.Allowed, action.Reason = false, refused.Reason
		}
		verdict.Actions = append(verdict.Actions, action)
	}
	return verdict
}

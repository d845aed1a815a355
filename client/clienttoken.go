package client

import (
	"context"
	"net/http"
)

// TokenClaims are what a token for a client allows.
type TokenClaims struct {
	Subject string `json:"sub,omitempty"` // who the client is, in the backend's words
	// Channels maps patterns of channels to what is allowed there: "subscribe", "publish",
	// "history", "presence", "members".
	Channels map[string][]string `json:"channels"`
	Origins  []string            `json:"origins,omitempty"`  // rules for pages; nil means any client
	Lifetime string              `json:"lifetime,omitempty"` // such as "1h"; "" is 15 minutes
}

// SignedToken is a token for a client, as the node signed it.
type SignedToken struct {
	Token     string `json:"token"`
	ExpiresAt int64  `json:"expiresAt"` // Unix ms
}

// MintToken has a node sign a token, as a backend with the signing secret of a server key
// would. Backends use Token.Sign, which asks no node.
func (a *Admin) MintToken(ctx context.Context, keyID string, claims TokenClaims) (SignedToken, error) {
	return request[SignedToken](ctx, a,
		call{method: http.MethodPost, path: "/keys/{id}/token", id: keyID, body: claims, want: http.StatusCreated})
}

// TokenVerdict is what a node thinks of a key or token.
type TokenVerdict struct {
	Valid     bool            `json:"valid"` // a client may connect with it
	Reason    string          `json:"reason"`
	Code      string          `json:"code,omitempty"` // that a client would get
	Kind      string          `json:"kind,omitempty"` // "public", "server", "token" or "console"
	KeyID     string          `json:"keyId,omitempty"`
	Project   string          `json:"project,omitempty"` // id
	Subject   string          `json:"sub,omitempty"`
	ExpiresAt int64           `json:"expiresAt,omitempty"` // Unix ms, with the leeway for clocks
	Actions   []ActionVerdict `json:"actions,omitempty"`   // where a channel was given
}

// ActionVerdict tells whether an action in a channel is allowed.
type ActionVerdict struct {
	Action  string `json:"action"`
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason,omitempty"`
}

// CheckToken asks what a key or token is good for, in a channel and from a page of an origin
// where these are not empty.
func (a *Admin) CheckToken(ctx context.Context, token, channel, origin string) (TokenVerdict, error) {
	body := struct {
		Token   string `json:"token"`
		Channel string `json:"channel,omitempty"`
		Origin  string `json:"origin,omitempty"`
	}{token, channel, origin}
	return request[TokenVerdict](ctx, a, call{method: http.MethodPost, path: "/client-tokens/check", body: body})
}

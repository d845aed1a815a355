package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
)

// AdminToken is a credential of the admin API. Its text is there only in the answer
// that created it.
type AdminToken struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Role       string `json:"role"` // "viewer", "operator" or "owner"
	Text       string `json:"token,omitempty"`
	CreatedAt  int64  `json:"createdAt"`            // Unix ms
	LastUsedAt int64  `json:"lastUsedAt,omitempty"` // Unix ms, to the minute or so; 0 means never
	ExpiresAt  int64  `json:"expiresAt,omitempty"`  // Unix ms; 0 means never
}

// AuditRecord is one change that an operator, or a node of its own accord, made.
type AuditRecord struct {
	Seq    uint64          `json:"seq"`
	At     int64           `json:"at"` // Unix ms
	By     Actor           `json:"by"`
	Action string          `json:"action"` // such as "key.rotate"
	Target string          `json:"target"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Actor is who made a change.
type Actor struct {
	ID      string `json:"id"` // of the admin token
	Name    string `json:"name"`
	Address string `json:"address"`
	Via     string `json:"via"` // "api", "cli", "console" or "node"
}

// Refusal is something that a node refused, as an operator sees it.
type Refusal struct {
	At        int64  `json:"at"` // Unix ms
	Node      string `json:"node"`
	Via       string `json:"via"` // "ws", "sse", "poll", "rest", "admin" or "handshake"
	Code      string `json:"code"`
	Reason    string `json:"reason"` // what the client was told
	Detail    string `json:"detail"` // the rule that refused, in full
	Address   string `json:"address"`
	Origin    string `json:"origin"`
	KeyID     string `json:"keyId"`
	KeyPrefix string `json:"keyPrefix"`
	Project   string `json:"project"`
	Channel   string `json:"channel"`
	Action    string `json:"action"`
}

// RefusalFilter says which refusals are asked for. An empty field leaves out nothing.
type RefusalFilter struct {
	Project string
	KeyID   string
	Code    string
}

// WhoAmI returns the token that calls are made with.
func (a *Admin) WhoAmI(ctx context.Context) (AdminToken, error) {
	return request[AdminToken](ctx, a, call{method: http.MethodGet, path: "/whoami"})
}

// CreateAdminToken makes an admin token with a role, whose text is in the answer.
func (a *Admin) CreateAdminToken(ctx context.Context, name, role string) (AdminToken, error) {
	body := struct {
		Name string `json:"name"`
		Role string `json:"role"`
	}{name, role}
	return request[AdminToken](ctx, a,
		call{method: http.MethodPost, path: "/tokens", body: body, want: http.StatusCreated})
}

// AdminTokens lists the admin tokens.
func (a *Admin) AdminTokens(ctx context.Context) iter.Seq2[AdminToken, error] {
	return list(ctx, a, call{path: "/tokens"}, func(page *listPage) []AdminToken { return page.Tokens })
}

// RevokeAdminToken ends an admin token now, with the console sessions it began.
func (a *Admin) RevokeAdminToken(ctx context.Context, id string) error {
	return a.remove(ctx, call{path: "/tokens/{id}", id: id})
}

// Audit lists what was changed, newest first.
func (a *Admin) Audit(ctx context.Context) iter.Seq2[AuditRecord, error] {
	return list(ctx, a, call{path: "/audit"}, func(page *listPage) []AuditRecord { return page.Audit })
}

// Refusals lists what the nodes refused lately, newest first.
func (a *Admin) Refusals(ctx context.Context, f RefusalFilter) iter.Seq2[Refusal, error] {
	filters := url.Values{"project": {f.Project}, "key": {f.KeyID}, "code": {f.Code}}
	return list(ctx, a, call{path: "/refusals", query: filters}, func(page *listPage) []Refusal { return page.Refusals })
}

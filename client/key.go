package client

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Key is a credential of a project. The text of a server key, and the secret that
// signs tokens under it, are there only in the answer that created it.
type Key struct {
	ID            string    `json:"id"`
	Kind          string    `json:"kind"` // "public" or "server"
	Name          string    `json:"name"`
	Text          string    `json:"key,omitempty"`
	Prefix        string    `json:"prefix,omitempty"`
	SigningSecret string    `json:"signingSecret,omitempty"`
	CreatedAt     int64     `json:"createdAt"`             // Unix ms
	LastUsedAt    int64     `json:"lastUsedAt,omitempty"`  // Unix ms, to the minute or so; 0 means never
	ExpiresAt     int64     `json:"expiresAt,omitempty"`   // Unix ms; 0 means never
	Imported      bool      `json:"imported,omitempty"`    // made elsewhere, without a checksum
	Connections   *int      `json:"connections,omitempty"` // that use it now; nil in lists
	Replaces      *Replaced `json:"replaces,omitempty"`
}

// Replaced is the key that a rotation took over from.
type Replaced struct {
	ID        string `json:"id"`
	ExpiresAt int64  `json:"expiresAt"` // Unix ms
}

// CreateKey adds a key of kind "public" or "server" to a project.
func (a *Admin) CreateKey(ctx context.Context, project, kind, name string) (Key, error) {
	body := struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}{kind, name}
	return request[Key](ctx, a,
		call{method: http.MethodPost, path: "/projects/{id}/keys", id: project, body: body, want: http.StatusCreated})
}

// ImportKey adds a key that was made elsewhere, such as by the hosted service: "pk_" or
// "sk_" and 40 letters and digits.
func (a *Admin) ImportKey(ctx context.Context, project, name, text string) (Key, error) {
	body := struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
		Key  string `json:"key"`
	}{"public", name, text}
	if strings.HasPrefix(text, "sk_") {
		body.Kind = "server"
	}
	return request[Key](ctx, a,
		call{method: http.MethodPost, path: "/projects/{id}/keys", id: project, body: body, want: http.StatusCreated})
}

// RotateKey makes a successor of a key, which lives on for overlap; 0 ends it at
// once.
func (a *Admin) RotateKey(ctx context.Context, id string, overlap time.Duration) (Key, error) {
	body := struct {
		Overlap Duration `json:"overlap"`
	}{Duration(overlap)}
	return request[Key](ctx, a,
		call{method: http.MethodPost, path: "/keys/{id}/rotate", id: id, body: body, want: http.StatusCreated})
}

// RevokeKey ends a key now.
func (a *Admin) RevokeKey(ctx context.Context, id string) error {
	return a.remove(ctx, call{path: "/keys/{id}", id: id})
}

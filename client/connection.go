package client

import (
	"context"
	"iter"
	"net/url"
)

// Connection is a client that is connected to some node.
type Connection struct {
	ID        string   `json:"id"`
	Node      string   `json:"node"`
	Transport string   `json:"transport"` // "ws", "sse" or "poll"
	Address   string   `json:"address"`
	Origin    string   `json:"origin"`
	Project   string   `json:"project"` // id
	Kind      string   `json:"kind"`    // of credential: "public", "server", "token" or "console"
	KeyID     string   `json:"keyId"`
	Subject   string   `json:"sub"`   // of a token
	SDK       string   `json:"sdk"`   // "name/version" as the client said; "" when it did not
	Since     int64    `json:"since"` // Unix ms
	Channels  []string `json:"channels"`
	State     string   `json:"state"`  // "live" or "catching_up"
	Behind    uint64   `json:"behind"` // messages
}

// Connections lists who uses a key, on all nodes.
func (a *Admin) Connections(ctx context.Context, keyID string) iter.Seq2[Connection, error] {
	return list(ctx, a, call{path: "/keys/{id}/connections", id: keyID},
		func(page *listPage) []Connection { return page.Connections })
}

// AllConnections lists who is connected, on all nodes: of a project or of a key, or
// everybody where these are empty.
func (a *Admin) AllConnections(ctx context.Context, project, keyID string) iter.Seq2[Connection, error] {
	return list(ctx, a, call{path: "/connections", query: url.Values{"project": {project}, "key": {keyID}}},
		func(page *listPage) []Connection { return page.Connections })
}

// Disconnect closes a connection. Its client may come back.
func (a *Admin) Disconnect(ctx context.Context, id string) error {
	return a.remove(ctx, call{path: "/connections/{id}", id: id})
}

package client

import (
	"context"
	"iter"
	"net/http"
)

// Project owns keys and channels.
type Project struct {
	ID                 string   `json:"id"`
	Name               string   `json:"name"`
	AllowedOrigins     []string `json:"allowedOrigins"`
	AllowNativeClients bool     `json:"allowNativeClients"`
	Rules              []Rule   `json:"rules,omitempty"`
	Access             Access   `json:"access"`
	Quotas             Quotas   `json:"quotas"`
	FirstOffset        uint64   `json:"firstOffset"` // of the first message of channels that are made from now on
	CreatedAt          int64    `json:"createdAt"`   // Unix ms
	Keys               []Key    `json:"keys,omitempty"`
}

// Access says what a bare public key of a project may do. A list that is nil is sent as left
// out, which means what a new project has: subscribing to everything, and nothing else. An
// empty list allows nothing.
type Access struct {
	Subscribe []string       `json:"subscribe,omitzero"` // patterns: names, or prefixes followed by "*"
	Publish   []PublishGrant `json:"publish,omitzero"`
	Presence  []string       `json:"presence,omitzero"` // patterns of channels that it may be a member of
	Members   []string       `json:"members,omitzero"`  // patterns of channels whose members it may see
}

// PublishGrant lets public keys publish to the channels that match Pattern.
type PublishGrant struct {
	Pattern string  `json:"pattern"`
	Rate    float64 `json:"rate"`            // messages per second and connection
	Burst   int     `json:"burst,omitempty"` // messages that may come at once; 0 leaves it to the node
}

// Quotas bound what a project uses of the whole cluster. 0 means no bound, except for
// members, of which it means 100,000.
type Quotas struct {
	Connections   int     `json:"connections"`
	Channels      int     `json:"channels"`          // ever published to
	PublishRate   float64 `json:"publishRate"`       // messages per second
	Subscriptions int     `json:"subscriptions"`     // of all connections together
	Members       int     `json:"members,omitempty"` // of all channels together
}

// ProjectSpec describes a project to be created.
type ProjectSpec struct {
	Name               string   `json:"name"`
	AllowedOrigins     []string `json:"allowedOrigins"`
	AllowNativeClients bool     `json:"allowNativeClients"`
}

// ProjectChange changes those fields of a project that are not nil.
type ProjectChange struct {
	Name               *string   `json:"name,omitempty"`
	AllowedOrigins     *[]string `json:"allowedOrigins,omitempty"`
	AllowNativeClients *bool     `json:"allowNativeClients,omitempty"`
	Rules              *[]Rule   `json:"rules,omitempty"`
	Access             *Access   `json:"access,omitempty"`
	Quotas             *Quotas   `json:"quotas,omitempty"`
	FirstOffset        *uint64   `json:"firstOffset,omitempty"`
}

// CreateProject makes a project with a public and a server key, whose texts are
// in the answer.
func (a *Admin) CreateProject(ctx context.Context, spec ProjectSpec) (Project, error) {
	if spec.AllowedOrigins == nil {
		spec.AllowedOrigins = []string{}
	}
	return request[Project](ctx, a, call{method: http.MethodPost, path: "/projects", body: spec, want: http.StatusCreated})
}

// Projects lists all projects.
func (a *Admin) Projects(ctx context.Context) iter.Seq2[Project, error] {
	return list(ctx, a, call{path: "/projects"}, func(page *listPage) []Project { return page.Projects })
}

// Project returns one project with its keys.
func (a *Admin) Project(ctx context.Context, id string) (Project, error) {
	return request[Project](ctx, a, call{method: http.MethodGet, path: "/projects/{id}", id: id})
}

// UpdateProject changes a project and returns it as it is then.
func (a *Admin) UpdateProject(ctx context.Context, id string, change ProjectChange) (Project, error) {
	return request[Project](ctx, a, call{method: http.MethodPatch, path: "/projects/{id}", id: id, body: change})
}

// DeleteProject ends a project's keys and removes its channels.
func (a *Admin) DeleteProject(ctx context.Context, id string) error {
	return a.remove(ctx, call{path: "/projects/{id}", id: id})
}

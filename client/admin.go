package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Admin operates a cluster through the admin API of any of its nodes. Every
// error that a node answered with is an *Error.
type Admin struct {
	BaseURL string
	Token   string
	HTTP    *http.Client // nil means http.DefaultClient
	// UserAgent is sent with every call unless it is empty. The audit takes one that
	// begins with "aptlyd-cli" for the command line.
	UserAgent string
}

// Project owns keys and channels.
type Project struct {
	ID                 string   `json:"id"`
	Name               string   `json:"name"`
	AllowedOrigins     []string `json:"allowedOrigins"`
	AllowNativeClients bool     `json:"allowNativeClients"`
	Rules              []Rule   `json:"rules,omitempty"`
	Access             Access   `json:"access"`
	Quotas             Quotas   `json:"quotas"`
	CreatedAt          int64    `json:"createdAt"` // Unix ms
	Keys               []Key    `json:"keys,omitempty"`
}

// Access says what a bare public key of a project may do.
type Access struct {
	Subscribe []string       `json:"subscribe"` // patterns: names, or prefixes followed by "*"
	Publish   []PublishGrant `json:"publish"`
}

// PublishGrant lets public keys publish to the channels that match Pattern.
type PublishGrant struct {
	Pattern string  `json:"pattern"`
	Rate    float64 `json:"rate"`            // messages per second and connection
	Burst   int     `json:"burst,omitempty"` // messages that may come at once; 0 leaves it to the node
}

// Quotas bound what a project uses of the whole cluster. 0 means no bound.
type Quotas struct {
	Connections int     `json:"connections"`
	Channels    int     `json:"channels"`    // ever published to
	PublishRate float64 `json:"publishRate"` // messages per second
}

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
	Connections   *int      `json:"connections,omitempty"` // that use it now; nil in lists
	Replaces      *Replaced `json:"replaces,omitempty"`
}

// Replaced is the key that a rotation took over from.
type Replaced struct {
	ID        string `json:"id"`
	ExpiresAt int64  `json:"expiresAt"` // Unix ms
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
}

// Channel is a channel that was published to.
type Channel struct {
	Name        string `json:"name"`
	Offset      uint64 `json:"offset"`   // newest
	Earliest    uint64 `json:"earliest"` // oldest retained; Offset+1 when there is none
	Bytes       int64  `json:"bytes"`    // payload retained
	Subscribers int    `json:"subscribers"`
}

// Connection is a client that is connected to some node.
type Connection struct {
	ID       string   `json:"id"`
	Node     string   `json:"node"`
	Address  string   `json:"address"`
	Origin   string   `json:"origin"`
	KeyID    string   `json:"keyId"`
	Since    int64    `json:"since"` // Unix ms
	Channels []string `json:"channels"`
	State    string   `json:"state"`  // "live" or "catching_up"
	Behind   uint64   `json:"behind"` // messages
}

// Status is the cluster as the node that answered sees it.
type Status struct {
	Node    string   `json:"node"`
	Version string   `json:"version"`
	Leader  string   `json:"leader"` // node name; empty when there is none
	Term    uint64   `json:"term"`
	Cluster string   `json:"clusterId"`
	Epoch   string   `json:"epoch"`
	Members []Member `json:"members"`
}

// Member is a node of the cluster.
type Member struct {
	Name         string `json:"name"`
	ID           string `json:"id"`
	State        string `json:"state"`
	Voter        bool   `json:"voter"`
	Leader       bool   `json:"leader"`
	PeerAddr     string `json:"peerAddr"`
	GossipAddr   string `json:"gossipAddr"`
	AppliedIndex uint64 `json:"appliedIndex"`
	Connections  int    `json:"connections"`
	StartedAt    int64  `json:"startedAt"` // Unix ms; 0 when not known, as the two below
	DiskUsed     uint64 `json:"diskUsed"`  // bytes in its data folder
	DiskFree     uint64 `json:"diskFree"`  // bytes left on its file system
	Version      string `json:"version,omitempty"`
	FeatureLevel uint32 `json:"featureLevel"` // the commands it knows; 0 when unknown
	// ClockOffset is how far its clock is ahead of the leader's, ms; nil when not
	// known.
	ClockOffset *int64 `json:"clockOffsetMs"`
}

// Settings hold for the whole cluster.
type Settings struct {
	// MaxBytes caps the payload retained in all channels together: beyond it the
	// oldest messages of the cluster go first. 0 means no cap.
	MaxBytes int64 `json:"maxBytes"`
}

// SettingsChange changes those settings that are not nil.
type SettingsChange struct {
	MaxBytes *int64 `json:"maxBytes,omitempty"`
}

// CreateProject makes a project with a public and a server key, whose texts are
// in the answer.
func (a *Admin) CreateProject(ctx context.Context, spec ProjectSpec) (Project, error) {
	if spec.AllowedOrigins == nil {
		spec.AllowedOrigins = []string{}
	}
	return request[Project](ctx, a, http.MethodPost, "/projects", nil, spec)
}

// Projects lists all projects.
func (a *Admin) Projects(ctx context.Context) iter.Seq2[Project, error] {
	return list(ctx, a, "/projects", func(page *listPage) []Project { return page.Projects })
}

// Project returns one project with its keys.
func (a *Admin) Project(ctx context.Context, id string) (Project, error) {
	return request[Project](ctx, a, http.MethodGet, "/projects/"+url.PathEscape(id), nil, nil)
}

// UpdateProject changes a project and returns it as it is then.
func (a *Admin) UpdateProject(ctx context.Context, id string, change ProjectChange) (Project, error) {
	return request[Project](ctx, a, http.MethodPatch, "/projects/"+url.PathEscape(id), nil, change)
}

// DeleteProject ends a project's keys and removes its channels.
func (a *Admin) DeleteProject(ctx context.Context, id string) error {
	return a.do(ctx, call{method: http.MethodDelete, path: "/projects/" + url.PathEscape(id)}, nil)
}

// CreateKey adds a key of kind "public" or "server" to a project.
func (a *Admin) CreateKey(ctx context.Context, project, kind, name string) (Key, error) {
	body := struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}{kind, name}
	return request[Key](ctx, a, http.MethodPost, "/projects/"+url.PathEscape(project)+"/keys", nil, body)
}

// RotateKey makes a successor of a key, which lives on for overlap; 0 ends it at
// once.
func (a *Admin) RotateKey(ctx context.Context, id string, overlap time.Duration) (Key, error) {
	body := struct {
		Overlap Duration `json:"overlap"`
	}{Duration(overlap)}
	return request[Key](ctx, a, http.MethodPost, "/keys/"+url.PathEscape(id)+"/rotate", nil, body)
}

// RevokeKey ends a key now.
func (a *Admin) RevokeKey(ctx context.Context, id string) error {
	return a.do(ctx, call{method: http.MethodDelete, path: "/keys/" + url.PathEscape(id)}, nil)
}

// Connections lists who uses a key, on all nodes.
func (a *Admin) Connections(ctx context.Context, keyID string) iter.Seq2[Connection, error] {
	path := "/keys/" + url.PathEscape(keyID) + "/connections"
	return list(ctx, a, path, func(page *listPage) []Connection { return page.Connections })
}

// AllConnections lists who is connected, on all nodes: of a project or of a key, or
// everybody where these are empty.
func (a *Admin) AllConnections(ctx context.Context, project, keyID string) iter.Seq2[Connection, error] {
	return listWhere(ctx, a, "/connections", url.Values{"project": {project}, "key": {keyID}},
		func(page *listPage) []Connection { return page.Connections })
}

// Disconnect closes a connection. Its client may come back.
func (a *Admin) Disconnect(ctx context.Context, id string) error {
	return a.do(ctx, call{method: http.MethodDelete, path: "/connections/" + url.PathEscape(id)}, nil)
}

// PurgeChannel removes all messages of a channel, whose offsets go on.
func (a *Admin) PurgeChannel(ctx context.Context, project, channel string) error {
	path := "/projects/" + url.PathEscape(project) + "/channels/" + url.PathEscape(channel)
	return a.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

// ChannelFilter chooses channels of a project.
type ChannelFilter struct {
	Prefix string // of the names; "" for all
	Active bool   // only those that have subscribers now
}

// Channels lists the channels of a project that a filter chooses, by name.
func (a *Admin) Channels(ctx context.Context, project string, filter ChannelFilter) iter.Seq2[Channel, error] {
	filters := url.Values{"prefix": {filter.Prefix}}
	if filter.Active {
		filters.Set("active", "true")
	}
	path := "/projects/" + url.PathEscape(project) + "/channels"
	return listWhere(ctx, a, path, filters, func(page *listPage) []Channel { return page.Channels })
}

// Messages returns up to limit messages of a channel whose offsets are above
// after. A limit of 0 leaves it to the node.
func (a *Admin) Messages(ctx context.Context, project, channel string, after uint64, limit int) (History, error) {
	values := url.Values{"after": {strconv.FormatUint(after, 10)}}
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	path := "/projects/" + url.PathEscape(project) + "/channels/" + url.PathEscape(channel) + "/messages"
	return request[History](ctx, a, http.MethodGet, path, values, nil)
}

// Status returns the state of the cluster.
func (a *Admin) Status(ctx context.Context) (Status, error) {
	return request[Status](ctx, a, http.MethodGet, "/status", nil, nil)
}

// Settings returns the settings of the cluster.
func (a *Admin) Settings(ctx context.Context) (Settings, error) {
	return request[Settings](ctx, a, http.MethodGet, "/settings", nil, nil)
}

// UpdateSettings changes the settings of the cluster and returns what they are then.
func (a *Admin) UpdateSettings(ctx context.Context, change SettingsChange) (Settings, error) {
	return request[Settings](ctx, a, http.MethodPatch, "/settings", nil, change)
}

// Finding is what one check of one node found.
type Finding struct {
	Node  string `json:"node"`
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"` // a plain sentence
}

// Diagnose has every node look after itself and its way to the others.
func (a *Admin) Diagnose(ctx context.Context) ([]Finding, error) {
	type answer struct {
		Findings []Finding `json:"findings"`
	}
	found, err := request[answer](ctx, a, http.MethodGet, "/diagnosis", nil, nil)
	return found.Findings, err
}

// RemoveMember takes the node with this name or id out of the cluster, unless that
// would cost the quorum.
func (a *Admin) RemoveMember(ctx context.Context, name string) error {
	return a.do(ctx, call{method: http.MethodDelete, path: "/members/" + url.PathEscape(name)}, nil)
}

// listPage is a page of any list: Next is empty on the last one.
type listPage struct {
	Projects    []Project     `json:"projects"`
	Connections []Connection  `json:"connections"`
	Channels    []Channel     `json:"channels"`
	Tokens      []AdminToken  `json:"tokens"`
	Audit       []AuditRecord `json:"audit"`
	Refusals    []Refusal     `json:"refusals"`
	Next        string        `json:"next"`
}

// list walks through the pages of a list and ends with the first error.
func list[T any](ctx context.Context, a *Admin, path string, items func(*listPage) []T) iter.Seq2[T, error] {
	return listWhere(ctx, a, path, nil, items)
}

// listWhere is list with filters, of which empty ones count for nothing.
func listWhere[T any](ctx context.Context, a *Admin, path string, filters url.Values, items func(*listPage) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		query := url.Values{}
		for name := range filters {
			if filters.Get(name) != "" {
				query[name] = filters[name]
			}
		}
		for {
			page, err := request[listPage](ctx, a, http.MethodGet, path, query, nil)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items(&page) {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("cursor", page.Next)
		}
	}
}

func request[T any](ctx context.Context, a *Admin, method, path string, query url.Values, body any) (T, error) {
	var result T
	err := a.do(ctx, call{method: method, path: path, query: query, body: body}, &result)
	return result, err
}

func (a *Admin) do(ctx context.Context, c call, result any) error {
	c.path = "/admin/v1" + c.path
	c.header = a.header()
	if err := do(ctx, a.HTTP, a.BaseURL, c, result); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

func (a *Admin) header() http.Header {
	header := http.Header{"Authorization": {"Bearer " + a.Token}}
	if a.UserAgent != "" {
		header.Set("User-Agent", a.UserAgent)
	}
	return header
}

package admin

import (
	"context"
	"io"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Operator is the part of the node that serves the admin API. A write returns
// once every node that is fresh has applied it, or after one second.
type Operator interface {
	CreateProject(ctx context.Context, by fsm.Actor, spec ProjectSpec) (*fsm.Project, []IssuedKey, error)
	// Projects lists projects by id, those after cursor.
	Projects(cursor string, limit int) []*fsm.Project
	UpdateProject(ctx context.Context, change fsm.UpdateProject) (*fsm.Project, error)
	DeleteProject(ctx context.Context, by fsm.Actor, id string) error

	Keys(project string) []fsm.Key
	CreateKey(ctx context.Context, by fsm.Actor, project string, spec KeySpec) (IssuedKey, error)
	// RotateKey issues a successor and lets the old key live for overlap.
	RotateKey(
		ctx context.Context, by fsm.Actor, id string, overlap time.Duration,
	) (issued IssuedKey, old fsm.Key, err error)
	RevokeKey(ctx context.Context, by fsm.Actor, id string) error

	// AdminTokens lists the admin tokens by id, those after cursor, without console
	// sessions.
	AdminTokens(cursor string, limit int) []fsm.AdminToken
	// CreateAdminToken makes an admin token or a console session; text is known at
	// this moment only.
	CreateAdminToken(ctx context.Context, by fsm.Actor, spec TokenSpec) (token fsm.AdminToken, text string, err error)
	RevokeAdminToken(ctx context.Context, by fsm.Actor, id string) error

	// Audit returns changes, the newest first: those before a sequence number, or
	// the last ones when it is 0.
	Audit(before uint64, limit int) []fsm.AuditRecord
	// Note adds to the audit an act that changes no state.
	Note(ctx context.Context, by fsm.Actor, action, target string) error

	// PurgeChannel removes the messages of a channel; its offsets go on.
	PurgeChannel(ctx context.Context, by fsm.Actor, channel fsm.ChannelKey) (Purged, error)
	// ForgetChannel purges a channel and frees its place in the project's quota. If it is
	// made again, it begins above its old offsets.
	ForgetChannel(ctx context.Context, by fsm.Actor, channel fsm.ChannelKey) (Purged, error)
	// ForgetChannels forgets the first fsm.MaxForget channels of a project whose names
	// begin with a prefix, and reports whether there are more.
	ForgetChannels(ctx context.Context, by fsm.Actor, project, prefix string) (forgotten int, more bool, err error)

	// Channels lists a project's channels by name, with the subscribers of the whole
	// cluster. A channel is listed once it was published or is subscribed to.
	Channels(ctx context.Context, q ChannelQuery) ([]ChannelStatus, error)
	// Refusals lists the refusals of the whole cluster, newest first.
	Refusals(ctx context.Context, q refusal.Query) ([]refusal.Record, error)
	// Disconnect closes the connection with an id, on whichever node it is.
	Disconnect(ctx context.Context, id string) error
	// KeyConnections counts the connections of each key of a project that has any, over the
	// whole cluster.
	KeyConnections(ctx context.Context, project string) (map[string]int, error)
	// Connections lists connections over the whole cluster, by id.
	Connections(ctx context.Context, q ConnectionQuery) ([]ConnectionStatus, error)
	Status(ctx context.Context) (Status, error)

	Settings() fsm.Settings
	UpdateSettings(ctx context.Context, change fsm.UpdateSettings) (fsm.Settings, error)
	// History returns the measurements of the last minutes, at most 60.
	History(ctx context.Context, minutes int) (History, error)
	// ProjectUsage returns what the clients of a project did, in the periods that had any.
	ProjectUsage(ctx context.Context, project string, by UsageStep) ([]fsm.UsagePeriod, error)
	// DayUsage returns what the clients of a project did in the last 24 hours, without what
	// nodes are about to report.
	DayUsage(project string) fsm.Usage
	// Backup opens the state of the cluster, as it is at the call or later, and returns its
	// size. The reader must be closed.
	Backup(ctx context.Context) (r io.ReadCloser, size int64, err error)
	// Diagnose has every node check itself and its way to the others.
	Diagnose(ctx context.Context) ([]Finding, error)
	// RemoveMember takes the node with this name or id out of the cluster, unless
	// that would cost the quorum or it is the node that is asked.
	RemoveMember(ctx context.Context, name string) error
}

// ProjectSpec describes a new project.
type ProjectSpec struct {
	Name               string
	AllowedOrigins     []string
	AllowNativeClients bool
}

// KeySpec describes a new key.
type KeySpec struct {
	Kind     fsm.KeyKind
	Name     string
	Text     string // of a key that was made elsewhere; empty to make one
	Imported bool   // Text lacks the checksum
}

// IssuedKey is a key at the only moment its text is known.
type IssuedKey struct {
	fsm.Key
	Secret        string // full text, "pk_…" or "sk_…"
	SigningSecret string // of a server key: the secret that signs its tokens, "ss_…"
}

// TokenSpec describes a new admin token.
type TokenSpec struct {
	Name     string
	Role     fsm.Role
	Lifetime time.Duration // 0 means for ever
	Parent   string        // of a console session: id of the token that signed in
}

// Purged says what a purge removed.
type Purged struct {
	Messages uint64 // that were retained
	Offset   uint64 // of the newest message that is gone
}

// ConnectionQuery asks for live connections. An empty field matches all.
type ConnectionQuery struct {
	Project string `json:"project"`
	KeyID   string `json:"keyId"`
	Cursor  string `json:"cursor"` // only ids after this one
	Limit   int    `json:"limit"`
}

// ChannelQuery asks for channels of a project.
type ChannelQuery struct {
	Project string
	Prefix  string // of the names; "" for all
	Active  bool   // only those that have subscribers or members now
	Min     int    // only those that have at least so many of either
	Cursor  string // only names after this one
	Limit   int
}

// ChannelStatus is one channel as the admin API shows it.
type ChannelStatus struct {
	fsm.ChannelInfo
	Subscribers int
	Members     int
}

// ConnectionStatus is one client connection as the admin API shows it.
type ConnectionStatus struct {
	ID        string   `json:"id"`
	Node      string   `json:"node"`
	Transport string   `json:"transport"` // "ws", "sse" or "poll"
	Address   string   `json:"address"`
	Origin    string   `json:"origin"`
	Project   string   `json:"project"`
	Kind      string   `json:"kind"` // of credential: "public", "server", "token" or "console"
	KeyID     string   `json:"keyId"`
	Subject   string   `json:"sub"`   // of a token
	SDK       string   `json:"sdk"`   // "name/version" as the client said, "" when it did not
	Since     int64    `json:"since"` // Unix ms
	Channels  []string `json:"channels"`
	State     string   `json:"state"`  // "live" or "catching_up"
	Behind    uint64   `json:"behind"` // messages between its cursors and the heads
}

// Finding is the result of one check on one node.
type Finding struct {
	Node  string `json:"node"`
	Check string `json:"check"`           // "quorum", "versions", "clock", "data folder", …
	About string `json:"about,omitempty"` // the other node that it is about, if there is one
	OK    bool   `json:"ok"`
	Text  string `json:"text"` // a plain sentence
}

// Status is the cluster as one node sees it.
type Status struct {
	Node    string         `json:"node"`
	Version string         `json:"version"`
	Leader  string         `json:"leader"` // node name, "" when there is none
	Term    uint64         `json:"term"`
	Cluster string         `json:"clusterId"`
	Epoch   string         `json:"epoch"`
	Quorum  Quorum         `json:"quorum"`
	Members []MemberStatus `json:"members"`
}

// Quorum says whether a majority of the voters is there, as one node sees it.
type Quorum struct {
	Held       bool     `json:"held"` // a leader that a majority follows was heard lately
	Voters     int      `json:"voters"`
	Alive      int      `json:"alive"`      // of those
	Needed     int      `json:"needed"`     // for a majority
	Missing    []string `json:"missing"`    // names of the voters that are not alive
	LastHeldAt int64    `json:"lastHeldAt"` // Unix ms; 0 while held, or if not since this node started
	Text       string   `json:"text"`       // plain sentences
}

// MemberStatus is one node of the cluster.
type MemberStatus struct {
	Name         string `json:"name"`
	ID           string `json:"id"`
	State        string `json:"state"` // "alive", "unreachable"
	Voter        bool   `json:"voter"`
	Leader       bool   `json:"leader"`
	PublicURL    string `json:"publicUrl"` // clients reach it there; "" when it was not told
	PeerAddr     string `json:"peerAddr"`
	GossipAddr   string `json:"gossipAddr"`
	AppliedIndex uint64 `json:"appliedIndex"`
	LastHeardAt  int64  `json:"lastHeardAt"`  // Unix ms; 0 if not since the node that answers started
	Connections  int    `json:"connections"`  // 0 while unreachable, as in the three below
	StartedAt    int64  `json:"startedAt"`    // Unix ms; 0 when not heard yet, as in the two below
	DiskUsed     uint64 `json:"diskUsed"`     // bytes in the node's data folder
	DiskFree     uint64 `json:"diskFree"`     // bytes left on its file system
	Version      string `json:"version"`      // "" when unknown
	FeatureLevel uint32 `json:"featureLevel"` // the commands it knows; 0 when unknown
	// ClockOffset is its clock's lead over the leader's clock in ms; nil when the
	// leader has not heard of it lately.
	ClockOffset *int64 `json:"clockOffsetMs"`
}

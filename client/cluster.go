package client

import (
	"context"
	"net/http"
	"net/url"
)

// Status is the cluster as the node that answered sees it.
type Status struct {
	Node    string   `json:"node"`
	Version string   `json:"version"`
	Leader  string   `json:"leader"` // node name; empty when there is none
	Term    uint64   `json:"term"`
	Cluster string   `json:"clusterId"`
	Epoch   string   `json:"epoch"`
	Quorum  Quorum   `json:"quorum"`
	Members []Member `json:"members"`
}

// Quorum says whether a majority of the voters is there, as the node that answered sees it.
type Quorum struct {
	Held       bool     `json:"held"` // a leader that a majority follows was heard lately
	Voters     int      `json:"voters"`
	Alive      int      `json:"alive"`      // of those
	Needed     int      `json:"needed"`     // for a majority
	Missing    []string `json:"missing"`    // names of the voters that are not alive
	LastHeldAt int64    `json:"lastHeldAt"` // Unix ms; 0 while held, or if not since the node started
	Text       string   `json:"text"`       // plain sentences
}

// Member is a node of the cluster.
type Member struct {
	Name         string `json:"name"`
	ID           string `json:"id"`
	State        string `json:"state"`
	Voter        bool   `json:"voter"`
	Leader       bool   `json:"leader"`
	PublicURL    string `json:"publicUrl"` // clients reach it there; "" when it was not told
	PeerAddr     string `json:"peerAddr"`
	GossipAddr   string `json:"gossipAddr"`
	AppliedIndex uint64 `json:"appliedIndex"`
	LastHeardAt  int64  `json:"lastHeardAt"` // Unix ms; 0 if not since the node that answers started
	Connections  int    `json:"connections"` // 0 while it is unreachable, as the three below
	StartedAt    int64  `json:"startedAt"`   // Unix ms; 0 when not known, as the two below
	DiskUsed     uint64 `json:"diskUsed"`    // bytes in its data folder
	DiskFree     uint64 `json:"diskFree"`    // bytes left on its file system
	Version      string `json:"version,omitempty"`
	FeatureLevel uint32 `json:"featureLevel"` // the commands it knows; 0 when unknown
	// ClockOffset is its clock's lead over the leader's clock in ms; nil when not
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

// Status returns the state of the cluster.
func (a *Admin) Status(ctx context.Context) (Status, error) {
	return request[Status](ctx, a, call{method: http.MethodGet, path: "/status"})
}

// Settings returns the settings of the cluster.
func (a *Admin) Settings(ctx context.Context) (Settings, error) {
	return request[Settings](ctx, a, call{method: http.MethodGet, path: "/settings"})
}

// UpdateSettings changes the settings of the cluster and returns what they are then.
func (a *Admin) UpdateSettings(ctx context.Context, change SettingsChange) (Settings, error) {
	return request[Settings](ctx, a, call{method: http.MethodPatch, path: "/settings", body: change})
}

// Finding is the result of one check of one node.
type Finding struct {
	Node  string `json:"node"`
	Check string `json:"check"`
	About string `json:"about,omitempty"` // the other node that it is about, if there is one
	OK    bool   `json:"ok"`
	Text  string `json:"text"` // a plain sentence
}

// Diagnose has every node look after itself and its way to the others.
func (a *Admin) Diagnose(ctx context.Context) ([]Finding, error) {
	type answer struct {
		Findings []Finding `json:"findings"`
	}
	found, err := request[answer](ctx, a, call{method: http.MethodGet, path: "/diagnosis"})
	return found.Findings, err
}

// RemoveMember takes the node with this name or id out of the cluster, unless that
// would cost the quorum.
func (a *Admin) RemoveMember(ctx context.Context, name string) error {
	return a.remove(ctx, call{path: "/members", query: url.Values{"name": {name}}})
}

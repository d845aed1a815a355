package fsm

// A command is one change to the state: a byte op, a byte version, a body.
// What an Encode method returns is what State.Batch takes. Nothing in a command
// is decided while it is applied: ids, keys and hashes come with it, the time
// is the stamp of the entry that carries it.

// Publish appends one message to a channel.
type Publish struct {
	Channel ChannelKey
	ID      string // idempotency key, unique within the channel for ten minutes; may be empty
	Data    []byte // one JSON value
}

// Receipt answers a Publish.
type Receipt struct {
	Offset    uint64
	Timestamp int64 // Unix ms
	Duplicate bool  // the id was seen before; Offset is that of the first time
}

// Init makes the cluster's first state. Only the first one has an effect.
type Init struct {
	ClusterID      string
	Epoch          string
	AdminTokenHash KeyHash
	Project        Project
	Keys           []Key
}

// CreateProject adds a project together with its first keys.
type CreateProject struct {
	Project Project
	Keys    []Key
}

// UpdateProject changes the fields that are not nil.
type UpdateProject struct {
	ID                 string
	Name               *string
	AllowedOrigins     *[]string
	AllowNativeClients *bool
	Rules              *[]Rule
}

// DeleteProject ends a project's keys and removes its channels.
type DeleteProject struct{ ID string }

// CreateKey adds a key to its project.
type CreateKey struct{ Key Key }

// RotateKey adds Key, which takes over from the key Key.Replaces; the old one
// ends Overlap milliseconds after the entry's stamp.
type RotateKey struct {
	Key     Key
	Overlap int64 // ms
}

// RevokeKey ends a key now.
type RevokeKey struct{ ID string }

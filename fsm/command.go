package fsm

import (
	"encoding/binary"
	"fmt"
)

// A command is one change to the state:
//
//	byte op | byte version | body
//
// What an Encode method returns is what State.Batch takes. Nothing in a command
// is decided while it is applied: ids, keys and hashes come with it, the time
// is the stamp of the entry that carries it.
//
// Decoding is strict: an unknown op or version, a missing or a surplus byte stop
// the node, since to skip a part of a committed command would be to diverge. So
// every change of a body, an added field too, is a new version, and a version is
// used only when all members of the cluster know it.

type op byte

const (
	opPublish op = iota + 1
	opInit
	opCreateProject
	opUpdateProject
	opDeleteProject
	opCreateKey
	opRotateKey
	opRevokeKey
	opUpdateSettings
)

// commandVersion is the version of every command there is today.
const commandVersion = 1

// Publish appends one message to a channel.
type Publish struct {
	Channel ChannelKey
	ID      string // idempotency key, unique within the channel for ten minutes; may be empty
	Data    []byte // one JSON value
}

// Init makes the cluster's first state. Only the first one has an effect.
type Init struct {
	ClusterID      string
	Epoch          string
	AdminTokenHash KeyHash
	Project        Project // none when its ID is empty
	Keys           []Key
}

// CreateProject adds a project together with its first keys. The CreatedAt of
// project and keys is the entry's stamp, whatever the command says.
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

// DeleteProject ends a project's keys and removes its channels. Its id is never
// free again.
type DeleteProject struct{ ID string }

// CreateKey adds a key to its project.
type CreateKey struct{ Key Key }

// RotateKey adds Key, which takes over from the key Key.Replaces; the old one
// ends Overlap milliseconds after the entry's stamp, or when it would have ended
// anyway if that is sooner.
type RotateKey struct {
	Key     Key
	Overlap int64 // ms
}

// RevokeKey ends a key now.
type RevokeKey struct{ ID string }

// UpdateSettings changes the settings of the cluster that are not nil. It takes
// effect with the next entry.
type UpdateSettings struct{ MaxBytes *int64 }

func appendHead(dst []byte, o op) []byte { return append(dst, byte(o), commandVersion) }

// Append appends the encoded command to dst.
func (c Publish) Append(dst []byte) []byte {
	dst = appendHead(dst, opPublish)
	dst = appendString(dst, c.Channel.Project)
	dst = appendString(dst, c.Channel.Name)
	dst = appendString(dst, c.ID)
	return appendBytes(dst, c.Data)
}

// Encode returns the encoded command.
func (c Publish) Encode() []byte { return c.Append(nil) }

// Encode returns the encoded command.
func (c Init) Encode() []byte {
	dst := appendHead(nil, opInit)
	dst = appendString(dst, c.ClusterID)
	dst = appendString(dst, c.Epoch)
	dst = append(dst, c.AdminTokenHash[:]...)
	dst = appendProject(dst, &c.Project)
	return appendKeys(dst, c.Keys)
}

// Encode returns the encoded command.
func (c CreateProject) Encode() []byte {
	dst := appendProject(appendHead(nil, opCreateProject), &c.Project)
	return appendKeys(dst, c.Keys)
}

// Encode returns the encoded command.
func (c UpdateProject) Encode() []byte {
	dst := appendString(appendHead(nil, opUpdateProject), c.ID)
	if dst = appendBool(dst, c.Name != nil); c.Name != nil {
		dst = appendString(dst, *c.Name)
	}
	if dst = appendBool(dst, c.AllowedOrigins != nil); c.AllowedOrigins != nil {
		dst = appendStrings(dst, *c.AllowedOrigins)
	}
	if dst = appendBool(dst, c.AllowNativeClients != nil); c.AllowNativeClients != nil {
		dst = appendBool(dst, *c.AllowNativeClients)
	}
	if dst = appendBool(dst, c.Rules != nil); c.Rules != nil {
		dst = appendRules(dst, *c.Rules)
	}
	return dst
}

// Encode returns the encoded command.
func (c DeleteProject) Encode() []byte {
	return appendString(appendHead(nil, opDeleteProject), c.ID)
}

// Encode returns the encoded command.
func (c CreateKey) Encode() []byte { return appendKey(appendHead(nil, opCreateKey), &c.Key) }

// Encode returns the encoded command.
func (c RotateKey) Encode() []byte {
	dst := appendKey(appendHead(nil, opRotateKey), &c.Key)
	return binary.AppendVarint(dst, c.Overlap)
}

// Encode returns the encoded command.
func (c RevokeKey) Encode() []byte { return appendString(appendHead(nil, opRevokeKey), c.ID) }

// Encode returns the encoded command.
func (c UpdateSettings) Encode() []byte {
	dst := appendHead(nil, opUpdateSettings)
	if dst = appendBool(dst, c.MaxBytes != nil); c.MaxBytes != nil {
		dst = binary.AppendVarint(dst, *c.MaxBytes)
	}
	return dst
}

// publication is a decoded Publish whose parts alias the command.
type publication struct {
	project, channel, id, data []byte
}

// decodePublish decodes a Publish without allocating; any other command is
// answered with false.
func decodePublish(b []byte) (p publication, ok bool, err error) {
	if len(b) < 2 || op(b[0]) != opPublish || b[1] != commandVersion {
		return p, false, nil
	}
	d := decoder{rest: b[2:]}
	p = publication{d.bytes(), d.bytes(), d.bytes(), d.bytes()}
	return p, true, d.finish()
}

// decodeCommand decodes every command but Publish into a pointer to its type.
func decodeCommand(b []byte) (command any, err error) {
	if len(b) < 2 {
		return nil, errTruncated
	}
	if b[1] != commandVersion {
		return nil, fmt.Errorf("unknown version %d of op %d", b[1], b[0])
	}
	d := decoder{rest: b[2:]}
	switch op(b[0]) {
	case opInit:
		command = &Init{d.string(), d.string(), d.hash(), d.project(), d.keys()}
	case opCreateProject:
		command = &CreateProject{d.project(), d.keys()}
	case opUpdateProject:
		command = d.updateProject()
	case opDeleteProject:
		command = &DeleteProject{d.string()}
	case opCreateKey:
		command = &CreateKey{d.key()}
	case opRotateKey:
		command = &RotateKey{d.key(), d.varint()}
	case opRevokeKey:
		command = &RevokeKey{d.string()}
	case opUpdateSettings:
		command = d.updateSettings()
	default:
		return nil, fmt.Errorf("unknown op %d", b[0])
	}
	return command, d.finish()
}

func (d *decoder) updateProject() *UpdateProject {
	c := &UpdateProject{ID: d.string()}
	if d.bool() {
		name := d.string()
		c.Name = &name
	}
	if d.bool() {
		origins := d.strings()
		c.AllowedOrigins = &origins
	}
	if d.bool() {
		native := d.bool()
		c.AllowNativeClients = &native
	}
	if d.bool() {
		rules := d.rules()
		c.Rules = &rules
	}
	return c
}

func (d *decoder) updateSettings() *UpdateSettings {
	c := &UpdateSettings{}
	if d.bool() {
		n := d.varint()
		c.MaxBytes = &n
	}
	return c
}

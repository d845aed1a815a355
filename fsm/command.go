package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// A command is one change to the state:
//
//	byte op | byte version | body
//
// A version with sentBit says that the Sender stands before the body. The body of an
// operator's command begins with the Actor. State.Batch takes the result of an Encode
// method. Applying a command decides nothing by chance: ids, keys and hashes come with it,
// and its time is the stamp of the entry.
//
// Decoding is strict. An unknown op or version, a missing byte or a surplus byte stops the
// node, because nodes that skip parts of a committed command diverge. So every change of a
// body is a new version, and a version is used only when all members know it.

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
	opKeysUsed
	opCreateAdminToken
	opRevokeAdminToken
	opPurgeChannel
	opSeal
	opNote
	opForgetChannels
	opAddUsage
)

// Versions of the present commands.
const (
	publishVersion = 1
	controlVersion = 2 // of all the others

	// importVersion is for commands with an imported key, firstOffsetVersion for those that
	// set Project.FirstOffset, subscriptionsVersion for those that set Quotas.Subscriptions,
	// and presenceVersion for those that say anything of members.
	importVersion        = 3
	firstOffsetVersion   = 3
	subscriptionsVersion = 4
	presenceVersion      = 5

	// sentPublishVersion is for a publish with its sender. If it has an id, it ends with
	// the sum of its message.
	sentPublishVersion = 2 | sentBit
)

// Publish appends one message to a channel.
type Publish struct {
	Channel ChannelKey
	ID      string // idempotency key, remembered for ten minutes; may be empty
	Data    []byte // one JSON value
	From    Sender // none for a cluster below feature level 2
}

// Init makes the cluster's first state. Only the first one has an effect.
type Init struct {
	By             Actor
	ClusterID      string
	Epoch          string
	AdminTokenHash KeyHash // of the first admin token, an owner
	Keyring        []byte  // the sealed key-encryption key
	Project        Project // none when its ID is empty
	Keys           []Key
}

// CreateProject adds a project and its first keys. Their CreatedAt is the entry's stamp,
// whatever the command says.
type CreateProject struct {
	By      Actor
	Project Project
	Keys    []Key
}

// UpdateProject changes the fields that are not nil.
type UpdateProject struct {
	By                 Actor
	ID                 string
	Name               *string
	AllowedOrigins     *[]string
	AllowNativeClients *bool
	Rules              *[]Rule
	Access             *Access
	Quotas             *Quotas
	FirstOffset        *uint64 // may only grow
}

// DeleteProject ends a project's keys and removes its channels. Its id is never free again.
type DeleteProject struct {
	By Actor
	ID string
}

// CreateKey adds a key to its project.
type CreateKey struct {
	By  Actor
	Key Key
}

// RotateKey adds Key, which replaces the key Key.Replaces. The old key ends Overlap
// milliseconds after the entry's stamp, or at its own end if that is sooner.
type RotateKey struct {
	By      Actor
	Key     Key
	Overlap int64 // ms
}

// RevokeKey ends a key now.
type RevokeKey struct {
	By Actor
	ID string
}

// UpdateSettings changes the cluster settings that are not nil, with effect from the next
// entry.
type UpdateSettings struct {
	By       Actor
	MaxBytes *int64
}

// KeysUsed reports when keys and admin tokens were last used on a node. It skips unknown
// ones and those with a later use.
type KeysUsed struct{ Used []KeyUse }

// KeyUse is the last use of a key or an admin token.
type KeyUse struct {
	ID string
	At int64 // Unix ms
}

// CreateAdminToken adds an admin token. A token with a Parent is a console session: it has
// the parent's name and role and does not outlive it.
type CreateAdminToken struct {
	By    Actor
	Token AdminToken
}

// RevokeAdminToken ends an admin token and its console sessions now. It refuses to end the
// last owner that does not expire.
type RevokeAdminToken struct {
	By Actor
	ID string
}

// PurgeChannel removes all messages of a channel. Its offsets continue.
type PurgeChannel struct {
	By      Actor
	Channel ChannelKey
}

// ForgetChannels removes channels of a project, with their heads, so that they count for no
// quota. If one is made again, its offsets begin above the old ones.
type ForgetChannels struct {
	By      Actor
	Project string
	Names   []string
}

// MaxForget bounds the channels that one command forgets.
const MaxForget = 1000

// Seal replaces the sealed key-encryption key.
type Seal struct {
	By      Actor
	Keyring []byte
}

// Note adds an operator's action outside the state to the audit.
type Note struct {
	By     Actor
	Action string
	Target string
}

// beginControl begins a command of an operator.
func beginControl(o op, by *Actor) []byte { return beginVersion(o, controlVersion, by) }

func beginVersion(o op, version byte, by *Actor) []byte {
	return appendActor([]byte{byte(o), version}, by)
}

// importing returns the version of a command that adds keys.
func importing(keys ...Key) byte {
	if slices.ContainsFunc(keys, func(k Key) bool { return k.Imported }) {
		return importVersion
	}
	return controlVersion
}

// appendImported appends for each key whether it was imported.
func appendImported(dst []byte, version byte, keys ...Key) []byte {
	if version >= importVersion {
		for _, k := range keys {
			dst = wire.AppendBool(dst, k.Imported)
		}
	}
	return dst
}

// MaxSize returns how many bytes the encoded command takes at most.
func (c *Publish) MaxSize() int {
	return 2 + c.From.size() + len(c.Channel.Project) + len(c.Channel.Name) + len(c.ID) + len(c.Data) +
		4*binary.MaxVarintLen32 + 8
}

// Append appends the encoded command to dst.
func (c *Publish) Append(dst []byte) []byte {
	sent := c.From.Kind != NoSender
	dst = slices.Grow(dst, c.MaxSize())
	if sent {
		dst = c.From.append(append(dst, byte(opPublish), sentPublishVersion))
	} else {
		dst = append(dst, byte(opPublish), publishVersion)
	}
	dst = wire.AppendBytes(dst, c.Channel.Project)
	dst = wire.AppendBytes(dst, c.Channel.Name)
	dst = wire.AppendBytes(dst, c.ID)
	dst = wire.AppendBytes(dst, c.Data)
	if sent && c.ID != "" {
		dst = binary.BigEndian.AppendUint64(dst, sumMessage(c.Data))
	}
	return dst
}

// Encode returns the encoded command.
func (c Publish) Encode() []byte { return c.Append(nil) }

// Encode returns the encoded command.
func (c Init) Encode() []byte {
	version := importing(c.Keys...)
	dst := beginVersion(opInit, version, &c.By)
	dst = wire.AppendBytes(dst, c.ClusterID)
	dst = wire.AppendBytes(dst, c.Epoch)
	dst = append(dst, c.AdminTokenHash[:]...)
	dst = wire.AppendBytes(dst, c.Keyring)
	dst = appendProject(dst, &c.Project)
	return appendImported(appendKeys(dst, c.Keys), version, c.Keys...)
}

// Encode returns the encoded command.
func (c CreateProject) Encode() []byte {
	dst := appendProject(beginControl(opCreateProject, &c.By), &c.Project)
	return appendKeys(dst, c.Keys)
}

// Encode returns the encoded command.
func (c UpdateProject) Encode() []byte {
	version := byte(controlVersion)
	var rules []Rule
	if c.Rules != nil {
		rules = *c.Rules
	}
	switch {
	case hasPresence(rules, c.Access, c.Quotas):
		version = presenceVersion
	case c.Quotas != nil && c.Quotas.Subscriptions != 0:
		version = subscriptionsVersion
	case c.FirstOffset != nil:
		version = firstOffsetVersion
	}
	dst := wire.AppendBytes(beginVersion(opUpdateProject, version, &c.By), c.ID)
	if dst = wire.AppendBool(dst, c.Name != nil); c.Name != nil {
		dst = wire.AppendBytes(dst, *c.Name)
	}
	if dst = wire.AppendBool(dst, c.AllowedOrigins != nil); c.AllowedOrigins != nil {
		dst = appendStrings(dst, *c.AllowedOrigins)
	}
	if dst = wire.AppendBool(dst, c.AllowNativeClients != nil); c.AllowNativeClients != nil {
		dst = wire.AppendBool(dst, *c.AllowNativeClients)
	}
	if dst = wire.AppendBool(dst, c.Rules != nil); c.Rules != nil {
		dst = appendRules(dst, *c.Rules)
	}
	if dst = wire.AppendBool(dst, c.Access != nil); c.Access != nil {
		dst = appendAccess(dst, c.Access)
	}
	if dst = wire.AppendBool(dst, c.Quotas != nil); c.Quotas != nil {
		dst = appendQuotas(dst, c.Quotas)
	}
	if version == presenceVersion {
		dst = appendPresences(dst, rules, c.Access, c.Quotas)
	}
	if version == subscriptionsVersion || version == presenceVersion && c.Quotas != nil {
		dst = binary.AppendVarint(dst, int64(c.Quotas.Subscriptions))
	}
	if version >= subscriptionsVersion {
		dst = wire.AppendBool(dst, c.FirstOffset != nil)
	}
	if c.FirstOffset != nil {
		dst = binary.AppendUvarint(dst, *c.FirstOffset)
	}
	return dst
}

// Encode returns the encoded command.
func (c DeleteProject) Encode() []byte {
	return wire.AppendBytes(beginControl(opDeleteProject, &c.By), c.ID)
}

// Encode returns the encoded command.
func (c CreateKey) Encode() []byte {
	version := importing(c.Key)
	dst := appendKey(beginVersion(opCreateKey, version, &c.By), &c.Key)
	return appendImported(dst, version, c.Key)
}

// Encode returns the encoded command.
func (c RotateKey) Encode() []byte {
	dst := appendKey(beginControl(opRotateKey, &c.By), &c.Key)
	return binary.AppendVarint(dst, c.Overlap)
}

// Encode returns the encoded command.
func (c RevokeKey) Encode() []byte { return wire.AppendBytes(beginControl(opRevokeKey, &c.By), c.ID) }

// Encode returns the encoded command.
func (c KeysUsed) Encode() []byte {
	dst := binary.AppendUvarint([]byte{byte(opKeysUsed), controlVersion}, uint64(len(c.Used)))
	for _, use := range c.Used {
		dst = binary.AppendVarint(wire.AppendBytes(dst, use.ID), use.At)
	}
	return dst
}

// Encode returns the encoded command.
func (c CreateAdminToken) Encode() []byte {
	return appendAdminToken(beginControl(opCreateAdminToken, &c.By), &c.Token)
}

// Encode returns the encoded command.
func (c RevokeAdminToken) Encode() []byte {
	return wire.AppendBytes(beginControl(opRevokeAdminToken, &c.By), c.ID)
}

// Encode returns the encoded command.
func (c PurgeChannel) Encode() []byte {
	dst := wire.AppendBytes(beginControl(opPurgeChannel, &c.By), c.Channel.Project)
	return wire.AppendBytes(dst, c.Channel.Name)
}

// Encode returns the encoded command.
func (c ForgetChannels) Encode() []byte {
	return appendStrings(wire.AppendBytes(beginControl(opForgetChannels, &c.By), c.Project), c.Names)
}

// Encode returns the encoded command.
func (c Seal) Encode() []byte { return wire.AppendBytes(beginControl(opSeal, &c.By), c.Keyring) }

// Encode returns the encoded command.
func (c Note) Encode() []byte {
	return wire.AppendBytes(wire.AppendBytes(beginControl(opNote, &c.By), c.Action), c.Target)
}

// Encode returns the encoded command.
func (c UpdateSettings) Encode() []byte {
	dst := beginControl(opUpdateSettings, &c.By)
	if dst = wire.AppendBool(dst, c.MaxBytes != nil); c.MaxBytes != nil {
		dst = binary.AppendVarint(dst, *c.MaxBytes)
	}
	return dst
}

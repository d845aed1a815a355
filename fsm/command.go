package fsm

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// A command is one change to the state:
//
//	byte op | byte version | body
//
// A version with sentBit says that the Sender stands before the body.
// The body of one that an operator asked for begins with the Actor. What an Encode method returns is what State.Batch takes. Nothing in a command
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
	opKeysUsed
	opCreateAdminToken
	opRevokeAdminToken
	opPurgeChannel
	opSeal
	opNote
	opForgetChannels
)

// The versions of today's commands.
const (
	publishVersion = 1
	controlVersion = 2 // matches all the others

	// importVersion is that of a command with a key that was made elsewhere, and
	// firstOffsetVersion that of one that sets Project.FirstOffset, and subscriptionsVersion
	// that of one that sets Quotas.Subscriptions.
	importVersion        = 3
	firstOffsetVersion   = 3
	subscriptionsVersion = 4

	// sentPublishVersion is of a publish with its sender; one with an id ends with
	// the sum of its message.
	sentPublishVersion = 2 | sentBit
)

// Publish appends one message to a channel.
type Publish struct {
	Channel ChannelKey
	ID      string // idempotency key, unique within the channel for ten minutes; may be empty
	Data    []byte // one JSON value
	From    Sender // none for a cluster below feature level 2
}

// Init makes the cluster's first state. Only the first one has an effect.
type Init struct {
	By             Actor
	ClusterID      string
	Epoch          string
	AdminTokenHash KeyHash // matches the first admin token, an owner
	Keyring        []byte  // the sealed key-encryption key
	Project        Project // none when its ID is empty
	Keys           []Key
}

// CreateProject adds a project together with its first keys. The CreatedAt of
// project and keys is the entry's stamp, whatever the command says.
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
	FirstOffset        *uint64 // not below what it is
}

// DeleteProject ends a project's keys and removes its channels. Its id is never
// free again.
type DeleteProject struct {
	By Actor
	ID string
}

// CreateKey adds a key to its project.
type CreateKey struct {
	By  Actor
	Key Key
}

// RotateKey adds Key, which takes over from the key Key.Replaces; the old one
// ends Overlap milliseconds after the entry's stamp, or when it would have ended
// anyway if that is sooner.
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

// UpdateSettings changes the settings of the cluster that are not nil. It takes
// effect with the next entry.
type UpdateSettings struct {
	By       Actor
	MaxBytes *int64
}

// KeysUsed says when keys and admin tokens were last used on some node. What is
// not known any more, or was used later elsewhere, is left as it is.
type KeysUsed struct{ Used []KeyUse }

// KeyUse is the last use of a key or an admin token.
type KeyUse struct {
	ID string
	At int64 // Unix ms
}

// CreateAdminToken adds an admin token. One with a Parent is a console session: it
// has the parent's name and role and does not outlive it.
type CreateAdminToken struct {
	By    Actor
	Token AdminToken
}

// RevokeAdminToken ends an admin token now, with the console sessions it began.
// The last owner that does not expire stays.
type RevokeAdminToken struct {
	By Actor
	ID string
}

// PurgeChannel removes all messages of a channel. Its offsets go on where they were.
type PurgeChannel struct {
	By      Actor
	Channel ChannelKey
}

// ForgetChannels removes channels of a project with all that is known of them, so
// that they count for no quota. Should one of them be made again, its offsets begin
// above those that it had.
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

// Note adds to the audit what an operator did beside the state.
type Note struct {
	By     Actor
	Action string
	Target string
}

// beginControl begins a command that an operator asked for.
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

// appendImported appends to a command which of its keys were made elsewhere.
func appendImported(dst []byte, version byte, keys ...Key) []byte {
	if version >= importVersion {
		for _, k := range keys {
			dst = wire.AppendBool(dst, k.Imported)
		}
	}
	return dst
}

// Append appends the encoded command to dst.
func (c Publish) Append(dst []byte) []byte {
	sent := c.From.Kind != NoSender
	size := 2 + len(c.Channel.Project) + len(c.Channel.Name) + len(c.ID) + len(c.Data) + 4*binary.MaxVarintLen32
	if sent {
		size += c.From.size()
	}
	dst = slices.Grow(dst, size)
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
	switch {
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
	if version == subscriptionsVersion {
		dst = binary.AppendVarint(dst, int64(c.Quotas.Subscriptions))
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

// publication is a decoded Publish whose parts alias the command.
type publication struct {
	project, channel, id, data []byte
	from                       sender
	sum                        uint64 // matches the message, when there is an id and a sender
}

// decodePublish decodes a Publish without allocating; any other command is
// answered with false. known is a sender that it may be from.
func decodePublish(b []byte, known *senderCheck) (p publication, ok bool, err error) {
	if len(b) < 2 || op(b[0]) != opPublish || b[1] != publishVersion && b[1] != sentPublishVersion {
		return p, false, nil
	}
	d := decoder{wire.Reader{Rest: b[2:]}}
	sent := b[1] == sentPublishVersion
	switch {
	case sent && known.matches(d.Rest):
		p.from, d.Rest = known.from, d.Rest[len(known.raw):]
	case sent:
		p.from = d.sender()
	}
	p.project, p.channel, p.id, p.data = d.Bytes(), d.Bytes(), d.Bytes(), d.Bytes()
	if sent && len(p.id) > 0 {
		p.sum = d.Uint64()
	}
	return p, true, d.Finish()
}

// decodeCommand decodes every command but Publish into a pointer to its type.
func decodeCommand(b []byte) (from sender, command any, err error) {
	if len(b) < 2 {
		return from, nil, wire.ErrTruncated
	}
	version := b[1] &^ sentBit
	if version < controlVersion || version > newestVersion(op(b[0])) {
		return from, nil, fmt.Errorf("unknown version %d of op %d", b[1], b[0])
	}
	d := decoder{wire.Reader{Rest: b[2:]}}
	if b[1]&sentBit != 0 {
		from = d.sender()
	}
	switch op(b[0]) {
	case opInit:
		c := &Init{d.actor(), d.string(), d.string(), d.hash(), d.blob(), d.project(), d.keys()}
		for i := range c.Keys {
			d.imported(version, &c.Keys[i])
		}
		command = c
	case opCreateProject:
		command = &CreateProject{d.actor(), d.project(), d.keys()}
	case opUpdateProject:
		command = d.updateProject(version)
	case opDeleteProject:
		command = &DeleteProject{d.actor(), d.string()}
	case opCreateKey:
		c := &CreateKey{d.actor(), d.key()}
		d.imported(version, &c.Key)
		command = c
	case opRotateKey:
		command = &RotateKey{d.actor(), d.key(), d.Varint()}
	case opRevokeKey:
		command = &RevokeKey{d.actor(), d.string()}
	case opUpdateSettings:
		command = d.updateSettings()
	case opKeysUsed:
		command = d.keysUsed()
	case opCreateAdminToken:
		command = &CreateAdminToken{d.actor(), d.adminToken()}
	case opRevokeAdminToken:
		command = &RevokeAdminToken{d.actor(), d.string()}
	case opPurgeChannel:
		command = &PurgeChannel{d.actor(), ChannelKey{d.string(), d.string()}}
	case opForgetChannels:
		command = &ForgetChannels{d.actor(), d.string(), d.strings()}
	case opSeal:
		command = &Seal{d.actor(), d.blob()}
	case opNote:
		command = &Note{d.actor(), d.string(), d.string()}
	default:
		return from, nil, fmt.Errorf("unknown op %d", b[0])
	}
	return from, command, d.Finish()
}

// newestVersion returns the newest version of a command that is known.
func newestVersion(o op) byte {
	switch o {
	case opInit, opCreateKey:
		return importVersion
	case opUpdateProject:
		return subscriptionsVersion
	}
	return controlVersion
}

// imported reads whether a key of a command was made elsewhere.
func (d *decoder) imported(version byte, k *Key) {
	if version >= importVersion {
		k.Imported = d.Bool()
	}
}

func (d *decoder) updateProject(version byte) *UpdateProject {
	c := &UpdateProject{By: d.actor(), ID: d.string()}
	if d.Bool() {
		name := d.string()
		c.Name = &name
	}
	if d.Bool() {
		origins := d.strings()
		c.AllowedOrigins = &origins
	}
	if d.Bool() {
		native := d.Bool()
		c.AllowNativeClients = &native
	}
	if d.Bool() {
		rules := d.rules()
		c.Rules = &rules
	}
	if d.Bool() {
		access := d.access()
		c.Access = &access
	}
	if d.Bool() {
		quotas := d.quotas()
		c.Quotas = &quotas
	}
	if version >= subscriptionsVersion {
		if c.Quotas == nil {
			c.Quotas = &Quotas{}
		}
		c.Quotas.Subscriptions = d.integer()
	}
	if version == firstOffsetVersion || version >= subscriptionsVersion && d.Bool() {
		first := d.Uvarint()
		c.FirstOffset = &first
	}
	return c
}

func (d *decoder) keysUsed() *KeysUsed {
	c := &KeysUsed{}
	for n := d.Count(); n > 0 && d.Err == nil; n-- {
		c.Used = append(c.Used, KeyUse{d.string(), d.Varint()})
	}
	return c
}

func (d *decoder) updateSettings() *UpdateSettings {
	c := &UpdateSettings{By: d.actor()}
	if d.Bool() {
		n := d.Varint()
		c.MaxBytes = &n
	}
	return c
}

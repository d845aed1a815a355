package fsm

import (
	"fmt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// publication is a decoded Publish whose parts alias the command.
type publication struct {
	project, channel, id, data []byte
	from                       sender
	sum                        uint64 // of the message, if there are an id and a sender
}

// decodePublish decodes a Publish without allocating. ok is false for any other command.
// known is the last sender that was checked.
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

// decodeCommand decodes any command except Publish into a pointer to its type.
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
	case opAddUsage:
		command = d.addUsage()
	case opNote:
		command = &Note{d.actor(), d.string(), d.string()}
	default:
		return from, nil, fmt.Errorf("unknown op %d", b[0])
	}
	return from, command, d.Finish()
}

// newestVersion returns the newest known version of a command.
func newestVersion(o op) byte {
	switch o {
	case opInit, opCreateKey:
		return importVersion
	case opUpdateProject:
		return presenceVersion
	}
	return controlVersion
}

// imported reads whether a key of a command was imported.
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
	if version == presenceVersion {
		var rules []Rule
		if c.Rules != nil {
			rules = *c.Rules
		}
		d.presences(rules, c.Access, c.Quotas)
	}
	if version == subscriptionsVersion && c.Quotas == nil {
		c.Quotas = &Quotas{}
	}
	if version >= subscriptionsVersion && c.Quotas != nil {
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

package fsm

import (
	"encoding/binary"
	"time"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Presence says how the members of a channel are kept. The zero value means that the channel
// has none.
type Presence struct {
	Grace      time.Duration // how long a member whose connection broke may take to come back
	MaxMembers int           // above it subscribers get numbers instead of members
	DataBytes  int           // the most that the data of one member may have
	Anonymous  bool          // clients whose token names nobody may enter, too
}

// DefaultPresence holds the values of the fields that a rule leaves out.
var DefaultPresence = Presence{Grace: 10 * time.Second, MaxMembers: 1000, DataBytes: 1024}

// Bounds of the fields of Presence.
const (
	MaxPresenceGrace     = 10 * time.Minute
	MaxPresenceMembers   = 20_000
	MaxPresenceDataBytes = 4 << 10 // a frame of a client that may not publish has at most 8 KiB
)

// DefaultMembers is how many members a project may have in all its channels together, unless
// its quotas say otherwise.
const DefaultMembers = 100_000

// On reports whether a channel has members at all.
func (p Presence) On() bool { return p.MaxMembers > 0 }

// MostMembers returns how many members the project may have.
func (q Quotas) MostMembers() int {
	if q.Members == 0 {
		return DefaultMembers
	}
	return q.Members
}

// HasPresence reports whether any channel of the project may have members.
func (p *Project) HasPresence() bool {
	for i := range p.Rules {
		if p.Rules[i].Presence.On() {
			return true
		}
	}
	return false
}

func (p Presence) check() *refusal {
	switch {
	case p == Presence{}:
	case p.Grace < 0 || p.Grace > MaxPresenceGrace, p.MaxMembers < 1 || p.MaxMembers > MaxPresenceMembers,
		p.DataBytes < 0 || p.DataBytes > MaxPresenceDataBytes:
		return refuse(codeInvalid, "presence with a grace of %s, %d members and %d bytes of data",
			p.Grace, p.MaxMembers, p.DataBytes)
	}
	return nil
}

func appendPresence(dst []byte, p Presence) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.MaxMembers))
	if p.On() {
		dst = binary.AppendVarint(dst, p.Grace.Milliseconds())
		dst = binary.AppendVarint(dst, int64(p.DataBytes))
		dst = wire.AppendBool(dst, p.Anonymous)
	}
	return dst
}

func (d *decoder) presence() Presence {
	p := Presence{MaxMembers: int(d.Uvarint())}
	if p.On() {
		p.Grace = time.Duration(d.Varint()) * time.Millisecond
		p.DataBytes = d.integer()
		p.Anonymous = d.Bool()
	}
	return p
}

// hasPresence reports whether rules, rights or quotas say anything of members.
func hasPresence(rules []Rule, access *Access, quotas *Quotas) bool {
	p := Project{Rules: rules}
	return p.HasPresence() || access != nil && len(access.Presence)+len(access.Members) > 0 ||
		quotas != nil && quotas.Members != 0
}

// appendPresences appends what rules, rights and quotas say of members. Any of them may be
// nil.
func appendPresences(dst []byte, rules []Rule, access *Access, quotas *Quotas) []byte {
	for i := range rules {
		dst = appendPresence(dst, rules[i].Presence)
	}
	if access != nil {
		dst = appendStrings(appendStrings(dst, access.Presence), access.Members)
	}
	if quotas != nil {
		dst = binary.AppendVarint(dst, int64(quotas.Members))
	}
	return dst
}

func (d *decoder) presences(rules []Rule, access *Access, quotas *Quotas) {
	for i := range rules {
		rules[i].Presence = d.presence()
	}
	if access != nil {
		access.Presence, access.Members = d.strings(), d.strings()
	}
	if quotas != nil {
		quotas.Members = d.integer()
	}
}

package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Sender is on whose behalf a command is sent, and since when. The state judges it when
// the command is applied: what comes from somebody who has ended by then has no effect,
// however long it was on its way, nor has what is older than the ids that are remembered.
type Sender struct {
	Kind    SenderKind
	ID      string // matches the key, or of the admin token or console session; of a token: of the key that signed it
	Until   int64  // stamp at which a token ends, Unix ms; 0 when there is no token
	Subject uint64 // matches a token: HashSubject of it
	Since   int64  // the last stamp that the sender's node knew of when the command was sent; 0 before the first
}

// SenderKind tells who sends a command.
type SenderKind uint8

// The kinds of sender. Commands of programs of feature level 1 have none.
const (
	NoSender    SenderKind = iota
	NodeSender             // a node on its own account; it does not end
	KeySender              // a key itself
	TokenSender            // the bearer of a token
	AdminSender            // an admin token or a console session
)

// sentLevel is the feature level from which on commands carry their sender.
const sentLevel = 2

// sentBit in its version says that a command carries its sender before its body.
const sentBit = 0x80

// HashSubject returns what a Sender says of a token's subject.
func HashSubject(subject string) uint64 {
	sum := sha256.Sum256([]byte(subject))
	return binary.BigEndian.Uint64(sum[:])
}

// Send returns a control command with its sender.
func (s Sender) Send(command []byte) []byte {
	sent := s.append([]byte{command[0], command[1] | sentBit})
	return append(sent, command[2:]...)
}

// size is what a sender and the sum of a message take in a command, about.
func (s *Sender) size() int {
	const kind, length, stamp, number = 1, 1, 7, 8
	n := kind + length + len(s.ID) + stamp + number
	if s.Kind == TokenSender {
		n += stamp + number
	}
	return n
}

// append appends a sender:
//
//	byte kind | uvarint length and id | varint since | of a token: varint until, subject (8)
func (s *Sender) append(dst []byte) []byte {
	dst = wire.AppendBytes(append(dst, byte(s.Kind)), s.ID)
	dst = binary.AppendVarint(dst, s.Since)
	if s.Kind == TokenSender {
		dst = binary.AppendVarint(dst, s.Until)
		dst = binary.BigEndian.AppendUint64(dst, s.Subject)
	}
	return dst
}

// sender is a decoded Sender, whose id aliases the command.
type sender struct {
	kind    SenderKind
	id      []byte
	since   int64
	until   int64
	subject uint64
}

func (d *decoder) sender() sender {
	s := sender{kind: SenderKind(d.Byte()), id: d.Bytes(), since: d.Varint()}
	if s.kind == TokenSender {
		s.until, s.subject = d.Varint(), d.Uint64()
	}
	if s.kind < NodeSender || s.kind > AdminSender {
		d.Fail(fmt.Errorf("unknown kind of sender %d", s.kind))
	}
	return s
}

// senderCheck is what was found of a sender: most commands of a batch come from few, and
// nothing changes between two publishes that would change it.
type senderCheck struct {
	raw     []byte // the sender as it is encoded; empty when nobody was judged
	from    sender
	key     *Key
	refusal *refusal
}

// matches reports whether a command whose bytes these are behind the version comes from the
// same sender. No encoding of a sender is the beginning of another.
func (v *senderCheck) matches(b []byte) bool { return len(v.raw) > 0 && bytes.HasPrefix(b, v.raw) }

// checkPublishSender is judge for a publish.
func (a *application) checkPublishSender(command []byte, p *publication) (key *Key, r *refusal) {
	if p.from.kind == NoSender {
		return nil, nil
	}
	if a.lastCheck.matches(command[2:]) {
		return a.lastCheck.key, a.lastCheck.refusal
	}
	key, r = a.checkSender(&p.from)
	d := decoder{wire.Reader{Rest: command[2:]}}
	d.sender()
	a.lastCheck = senderCheck{command[2 : len(command)-len(d.Rest)], p.from, key, r}
	return key, r
}

// checkSender refuses what comes too late: the sender has ended, or the command is so old
// that ids and sessions of its time may be forgotten, so that nobody knows whether it
// was applied before. key is the sender's, nil when there is none.
func (a *application) checkSender(from *sender) (key *Key, r *refusal) {
	if from.kind == NoSender {
		return nil, nil
	}
	if a.level < sentLevel {
		a.raiseLevel(sentLevel)
	}
	if from.since != 0 && a.stamp-from.since >= idWindow {
		return nil, refuse(codeStale, "sent %d ms ago", a.stamp-from.since)
	}
	live := true
	switch from.kind {
	case KeySender, TokenSender:
		key, live = a.registry.key(asString(from.id))
	case AdminSender:
		_, live = a.admins.byID[asString(from.id)]
	}
	return key, checkAlive(live, asString(from.id), from.until, a.stamp)
}

func checkAlive(live bool, id string, until, stamp int64) *refusal {
	switch {
	case !live:
		return refuse(codeEnded, "sender %q", id)
	case until != 0 && until <= stamp:
		return refuse(codeExpired, "token of sender %q", id)
	}
	return nil
}

// Alive returns ErrEnded or ErrExpired when a command of the sender would have no
// effect any more.
func (s *State) Alive(from Sender) error {
	live := true
	switch from.Kind {
	case KeySender, TokenSender:
		_, live = s.Key(from.ID)
	case AdminSender:
		_, live = s.AdminToken(from.ID)
	}
	if r := checkAlive(live, from.ID, from.Until, s.Stamp()); r != nil {
		return r
	}
	return nil
}

// mayPublish refuses a publish whose sender has not, or not any more, the right to it.
// What a token allows does not change, and was judged when it was sent.
func (p *publication) mayPublish(key *Key, project *project) *refusal {
	if key == nil {
		return nil
	}
	if key.Project != project.ID {
		return refuse(codeForbidden, "key %q of project %q", key.ID, key.Project)
	}
	if key.Kind != PublicKey || p.from.kind != KeySender {
		return nil
	}
	if _, granted := project.Access.PublishGrant(asString(p.channel)); !granted {
		return refuse(codeForbidden, "no grant of project %q for public keys", project.ID)
	}
	return nil
}

// appendScope sets the ids of those who need not trust each other apart. It is empty for who
// may do everything in the project, and for commands without a sender: their ids are
// the same as they have always been.
func (p *publication) appendScope(dst []byte, key *Key) []byte {
	switch {
	case p.from.kind == TokenSender:
		return binary.BigEndian.AppendUint64(append(dst, 't'), p.from.subject)
	case key != nil && key.Kind == PublicKey:
		return append(dst, 'p')
	}
	return dst
}

// sumMessage returns a number that two messages share only if they are the same but for
// white space between their parts, or somebody looked for them among 2^64. It is not 0.
func sumMessage(data []byte) uint64 {
	if !hasSpace(data) {
		sum := sha256.Sum256(data)
		return max(binary.BigEndian.Uint64(sum[:]), 1)
	}
	dense := make([]byte, 0, len(data))
	inside := false
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case inside && c == '\\' && i+1 < len(data):
			dense = append(dense, c)
			i++
			c = data[i]
		case c == '"':
			inside = !inside
		case !inside && isSpace(c):
			continue
		}
		dense = append(dense, c)
	}
	sum := sha256.Sum256(dense)
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// hasSpace reports whether data may have white space outside of strings.
func hasSpace(data []byte) bool {
	for _, space := range []byte(" \n\t\r") {
		if bytes.IndexByte(data, space) >= 0 {
			return true
		}
	}
	return false
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

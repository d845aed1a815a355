package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Sender is the author of a command and the time of sending. The state checks it when it
// applies the command. A command of a sender that has ended has no effect, nor has one that
// is older than the remembered ids.
type Sender struct {
	Kind    SenderKind
	ID      string // of the key, or of the admin token or console session; of a token: of the key that signed it
	Until   int64  // stamp at which a token ends, Unix ms; 0 without a token
	Subject uint64 // of a token: HashSubject of it
	Since   int64  // last stamp known to the sender's node when it sent the command; 0 before the first
}

// SenderKind is the kind of a sender.
type SenderKind uint8

// The kinds of sender. Commands of programs of feature level 1 have none.
const (
	NoSender    SenderKind = iota
	NodeSender             // a node on its own account; it does not end
	KeySender              // a key itself
	TokenSender            // the bearer of a token
	AdminSender            // an admin token or a console session
)

// SenderLevel is the feature level at which commands begin to carry their sender.
const SenderLevel = 2

// sentBit in the version says that a sender stands before the body.
const sentBit = 0x80

// HashSubject returns a token's subject in the form for Sender.Subject.
func HashSubject(subject string) uint64 {
	sum := sha256.Sum256([]byte(subject))
	return binary.BigEndian.Uint64(sum[:])
}

// Send returns a control command with its sender.
func (s Sender) Send(command []byte) []byte {
	sent := s.append([]byte{command[0], command[1] | sentBit})
	return append(sent, command[2:]...)
}

// size returns about how many bytes a sender and the sum of a message take in a command.
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

// sender is a decoded Sender whose id aliases the command.
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

// senderCheck is the result of checking a sender. Most commands of a batch come from few
// senders, and nothing between two publishes changes the result.
type senderCheck struct {
	raw     []byte // the encoded sender; empty if none was checked
	from    sender
	key     *Key
	refusal *refusal
}

// matches reports whether a command has the same sender; b is the command behind its
// version. No encoding of a sender is a prefix of another.
func (c *senderCheck) matches(b []byte) bool { return len(c.raw) > 0 && bytes.HasPrefix(b, c.raw) }

// checkPublishSender is checkSender for a publish.
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

// checkSender refuses a command that comes too late: its sender has ended, or ids and
// sessions of its time may be forgotten, so nobody knows whether it was applied before. key
// is the sender's key, nil if it has none.
func (a *application) checkSender(from *sender) (key *Key, r *refusal) {
	if from.kind == NoSender {
		return nil, nil
	}
	if a.level < SenderLevel {
		a.raiseLevel(SenderLevel)
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

// Alive returns ErrEnded or ErrExpired if a command of the sender would have no effect any
// more.
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

// mayPublish refuses a publish whose sender has no right to it, or lost it. The rights of a
// token never change, so the node that took the publish has checked them.
func (p *publication) mayPublish(key *Key, project *project) *refusal {
	if key == nil {
		return nil
	}
	if key.Project != project.ID {
		return refuse(codeForbidden, "the key belongs to another project")
	}
	if key.Kind != PublicKey || p.from.kind != KeySender {
		return nil
	}
	if _, granted := project.Access.PublishGrant(asString(p.channel)); !granted {
		return refuse(codeForbidden, "a public key may not publish here")
	}
	return nil
}

// appendScope appends the scope that separates the ids of senders that need not trust each
// other. It is empty for senders with all rights in the project and for commands without a
// sender, whose ids stay as they always were.
func (p *publication) appendScope(dst []byte, key *Key) []byte {
	switch {
	case p.from.kind == TokenSender:
		return binary.BigEndian.AppendUint64(append(dst, 't'), p.from.subject)
	case key != nil && key.Kind == PublicKey:
		return append(dst, 'p')
	}
	return dst
}

// sumMessage returns a hash of a message without the white space between its parts. It is
// 64 bits of a SHA-256, and never 0.
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

package presence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/presence"
	"github.com/aptlyd/aptlyd/internal/wire"
)

// A message travels as
//
//	| vers, 2 | boot | from | to | piece | last | unanswered | changes: project, channel, id, content |
//
// where the content of a change with an empty id is the number of subscribers, and that of
// others begins with 0 for a member (connections, since, at, data) and with 1 for one that is
// gone (reason, n × (node, boot, number) that have to be known before, at, data). An answer is
//
//	| taken | number |
//
// Numbers are uvarints, times (ms) varints; texts come after their length.

// Version is the first byte of each message. It is none of the relay's.
const Version = 2

// ErrMalformed says that bytes from a peer are no message or no answer.
var ErrMalformed = errors.New("malformed message of members")

const (
	maxIDBytes   = 512
	maxNodeBytes = 64
)

func encode(m presence.Message) []byte {
	b := append(make([]byte, 0, 64+96*len(m.Changes)), Version)
	for _, n := range []uint64{m.Boot, m.From, m.To, uint64(m.Piece)} {
		b = binary.AppendUvarint(b, n)
	}
	b = wire.AppendBool(wire.AppendBool(b, m.Last), m.Unanswered)
	for i := range m.Changes {
		c := &m.Changes[i]
		b = wire.AppendBytes(b, c.Channel.Project)
		b = wire.AppendBytes(b, c.Channel.Name)
		b = wire.AppendBytes(b, c.ID)
		switch {
		case c.ID == "":
			b = binary.AppendUvarint(b, uint64(c.Subscribers))
		case c.Gone:
			b = append(b, 1, byte(c.Reason))
			b = binary.AppendUvarint(b, uint64(len(c.After)))
			for _, r := range c.After {
				b = wire.AppendBytes(b, r.Node)
				b = binary.AppendUvarint(b, r.Boot)
				b = binary.AppendUvarint(b, r.Number)
			}
			b = wire.AppendBytes(binary.AppendVarint(b, c.At), c.Data)
		default:
			b = append(b, 0)
			b = binary.AppendUvarint(b, uint64(c.Connections))
			b = binary.AppendVarint(b, c.Since)
			b = binary.AppendVarint(b, c.At)
			b = wire.AppendBytes(b, c.Data)
		}
	}
	return b
}

func decode(raw []byte) (presence.Message, error) {
	var m presence.Message
	if len(raw) == 0 || raw[0] != Version {
		return m, fmt.Errorf("%w: another version", ErrMalformed)
	}
	r := wire.Reader{Rest: raw[1:]}
	m.Boot, m.From, m.To = r.Uvarint(), r.Uvarint(), r.Uvarint()
	m.Piece, m.Last, m.Unanswered = int(r.Uvarint()&math.MaxInt32), r.Bool(), r.Bool()
	for len(r.Rest) > 0 {
		c := presence.Change{
			Channel: fsm.ChannelKey{Project: string(r.Bytes()), Name: string(r.Bytes())},
			ID:      string(r.Bytes()),
		}
		switch {
		case c.ID == "":
			c.Subscribers = count(&r)
		case r.Bool():
			c.Gone, c.Reason = true, presence.Reason(r.Byte())
			for n := r.Count(); n > 0 && r.Err == nil; n-- {
				c.After = append(c.After, presence.Ref{Node: string(r.Bytes()), Boot: r.Uvarint(), Number: r.Uvarint()})
			}
			c.At, c.Data = r.Varint(), string(r.Bytes())
		default:
			c.Connections, c.Since, c.At, c.Data = count(&r), r.Varint(), r.Varint(), string(r.Bytes())
		}
		if r.Err == nil && !valid(&c) {
			return presence.Message{}, ErrMalformed
		}
		m.Changes = append(m.Changes, c)
	}
	if r.Err != nil || m.From > m.To || m.Last && m.Piece == 0 {
		return presence.Message{}, ErrMalformed
	}
	return m, nil
}

// count reads the number of connections or subscribers.
func count(r *wire.Reader) int {
	n := r.Uvarint()
	if n > math.MaxInt32 {
		r.Fail(ErrMalformed)
		return 0
	}
	return int(n)
}

// valid reports whether a node of this version sends such a change.
func valid(c *presence.Change) bool {
	for _, r := range c.After {
		if r.Node == "" || len(r.Node) > maxNodeBytes {
			return false
		}
	}
	return fsm.ValidChannel(c.Channel) && len(c.ID) <= maxIDBytes && c.Reason <= presence.NodeDied &&
		len(c.Data) <= fsm.MaxPresenceDataBytes && (c.Data == "" || fsm.ValidMessage([]byte(c.Data)))
}

func encodeAnswer(a presence.Answer) []byte {
	return binary.AppendUvarint(wire.AppendBool(nil, a.Taken), a.Number)
}

func decodeAnswer(raw []byte) (presence.Answer, error) {
	r := wire.Reader{Rest: raw}
	a := presence.Answer{Taken: r.Bool(), Number: r.Uvarint()}
	if err := r.Finish(); err != nil {
		return presence.Answer{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return a, nil
}

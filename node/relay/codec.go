package relay

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/aptlyd/aptlyd/fsm"
)

// A batch of messages of memory channels travels as
//
//	+---------+- - - - - - - - - - - - - - - - - - - - - - - - - - - - -+
//	| vers, 1 | groups: project, channel, n ≥ 1, n × (stamp, ms; payload) |
//	+---------+- - - - - - - - - - - - - - - - - - - - - - - - - - - - -+
//
// Numbers are uvarints; strings and payloads come after their length.
const batchVersion = 1

// ErrMalformed says that bytes from a peer are no batch.
var ErrMalformed = errors.New("malformed batch of transient messages")

// Encode returns a batch as bytes for Decode.
func Encode(batch []fsm.Appended) []byte {
	size := 1
	for _, g := range batch {
		size += len(g.Channel.Project) + len(g.Channel.Name) + 3*binary.MaxVarintLen32
		size += payloadBytes(g) + len(g.Messages)*(binary.MaxVarintLen32+binary.MaxVarintLen64)
	}
	b := append(make([]byte, 0, size), batchVersion)
	for _, g := range batch {
		b = appendSized(b, g.Channel.Project)
		b = appendSized(b, g.Channel.Name)
		b = binary.AppendUvarint(b, uint64(len(g.Messages)))
		for _, m := range g.Messages {
			b = binary.AppendUvarint(b, uint64(m.Timestamp))
			b = appendSized(b, m.Data)
		}
	}
	return b
}

func appendSized[T string | []byte](b []byte, item T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(item))), item...)
}

// Decode returns the batch in raw. Its payloads alias raw.
func Decode(raw []byte) ([]fsm.Appended, error) {
	if len(raw) == 0 || raw[0] != batchVersion {
		return nil, fmt.Errorf("%w: another version", ErrMalformed)
	}
	var batch []fsm.Appended
	for r := (reader{rest: raw[1:]}); len(r.rest) > 0; {
		g := fsm.Appended{Channel: fsm.ChannelKey{Project: string(r.sized()), Name: string(r.sized())}}
		count := r.uvarint()
		if r.failed || !fsm.ValidChannel(g.Channel) || count == 0 || count > uint64(len(r.rest)) {
			return nil, ErrMalformed
		}
		g.Messages = make([]fsm.Message, count)
		for i := range g.Messages {
			g.Messages[i] = fsm.Message{Timestamp: int64(r.uvarint()), Data: r.sized()}
			if m := &g.Messages[i]; m.Timestamp < 0 || !fsm.ValidMessage(m.Data) {
				return nil, ErrMalformed
			}
		}
		if r.failed {
			return nil, ErrMalformed
		}
		batch = append(batch, g)
	}
	return batch, nil
}

// reader reads the parts of a batch. After the first failure every part reads as zero.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || r.failed {
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) sized() []byte {
	n := r.uvarint()
	if r.failed || n > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

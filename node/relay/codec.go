package relay

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/internal/wire"
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
		b = wire.AppendBytes(b, g.Channel.Project)
		b = wire.AppendBytes(b, g.Channel.Name)
		b = binary.AppendUvarint(b, uint64(len(g.Messages)))
		for _, m := range g.Messages {
			b = binary.AppendUvarint(b, uint64(m.Timestamp))
			b = wire.AppendBytes(b, m.Data)
		}
	}
	return b
}

// Decode returns the batch in raw. Its payloads alias raw.
func Decode(raw []byte) ([]fsm.Appended, error) {
	if len(raw) == 0 || raw[0] != batchVersion {
		return nil, fmt.Errorf("%w: another version", ErrMalformed)
	}
	var batch []fsm.Appended
	for r := (wire.Reader{Rest: raw[1:]}); len(r.Rest) > 0; {
		g := fsm.Appended{Channel: fsm.ChannelKey{Project: string(r.Bytes()), Name: string(r.Bytes())}}
		count := r.Count()
		if r.Err != nil || !fsm.ValidChannel(g.Channel) || count == 0 {
			return nil, ErrMalformed
		}
		g.Messages = make([]fsm.Message, count)
		for i := range g.Messages {
			g.Messages[i] = fsm.Message{Timestamp: int64(r.Uvarint()), Data: r.Bytes()}
			if m := &g.Messages[i]; m.Timestamp < 0 || !fsm.ValidMessage(m.Data) {
				return nil, ErrMalformed
			}
		}
		if r.Err != nil {
			return nil, ErrMalformed
		}
		batch = append(batch, g)
	}
	return batch, nil
}

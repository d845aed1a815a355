package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// tailBytes bounds the tail: the newest messages of a channel, stored with its head. A
// larger tail becomes chunks. So a small channel is all in one place.
const tailBytes = 1 << 10

var emptyTail = []byte{0}

// decodeChannel splits a channel's body:
//
//	head | uvarint count | count × message of the tail, as in a chunk
func decodeChannel(key, body []byte) (h head, tail []byte, err error) {
	d := decoder{wire.Reader{Rest: body}}
	h = d.head()
	if d.Err != nil {
		return h, nil, fmt.Errorf("decode channel %q: %w: %w", key, errCorrupt, d.Err)
	}
	return h, d.Rest, nil
}

// decodeTail returns the messages of a tail, which alias it.
func decodeTail(key []byte, h head, tail []byte) (s segment, err error) {
	d := decoder{wire.Reader{Rest: tail}}
	n := d.Count()
	if uint64(n) > h.offset {
		d.Fail(errCorrupt)
	}
	s = d.messages(h.offset-uint64(n)+1, n)
	s.before = h.total - s.bytes
	if err := d.Finish(); err != nil {
		return segment{}, fmt.Errorf("decode tail of channel %q: %w: %w", key, errCorrupt, err)
	}
	return s, nil
}

// tailCount returns the number of messages in a tail.
func tailCount(tail []byte) uint64 {
	n, _ := binary.Uvarint(tail)
	return n
}

// tailSize returns about how many bytes messages take in a tail.
func tailSize(s segment) int { return int(s.bytes) + 8*len(s.messages) }

// appendTail appends a tail made of messages.
func appendTail(dst []byte, messages []Message) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(messages)))
	return appendMessages(dst, messages, 0)
}

// extendTail appends a tail extended by messages. stamp is that of the tail's last message.
func extendTail(dst, tail []byte, stamp int64, messages []Message) []byte {
	n, size := binary.Uvarint(tail)
	if n == 0 {
		stamp = 0
	}
	dst = binary.AppendUvarint(dst, n+uint64(len(messages)))
	dst = append(dst, tail[size:]...)
	return appendMessages(dst, messages, stamp)
}

// appendMessages appends messages. stamp is that of the message before.
func appendMessages(dst []byte, messages []Message, stamp int64) []byte {
	for _, m := range messages {
		dst = binary.AppendVarint(dst, m.Timestamp-stamp)
		dst = wire.AppendBytes(dst, m.Data)
		stamp = m.Timestamp
	}
	return dst
}

// messages reads n messages with consecutive offsets. Their Data aliases the input.
func (d *decoder) messages(offset uint64, n int) (s segment) {
	s.messages = make([]Message, 0, n)
	var stamp int64
	for i := 0; i < n && d.Err == nil; i++ {
		stamp += d.Varint()
		data := d.Bytes()
		s.bytes += int64(len(data))
		s.messages = append(s.messages, Message{offset + uint64(i), stamp, data})
	}
	return s
}

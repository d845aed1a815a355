package fsm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// headSize is the size of most heads with their checksum.
const headSize = 32

// head is the stored part of a channel besides its messages. It outlives them.
type head struct {
	offset  uint64 // newest message, 0 if there was none
	total   int64  // payload bytes ever appended
	size    int64  // payload bytes of the newest message
	stamp   int64  // of the newest message
	floor   uint64 // no message below is retained, whatever the rule
	version uint64 // rules of the project that floor accounts for
}

// forgotten is the floor of a tombstone: the channel does not exist any more, though parts
// of it may still be in the state file.
const forgotten = noOffset

func (h *head) forgotten() bool { return h.floor == forgotten }

func (h *head) append(dst []byte) []byte {
	dst = slices.Grow(dst, headSize)
	dst = binary.AppendUvarint(dst, h.offset)
	dst = binary.AppendVarint(dst, h.total)
	dst = binary.AppendVarint(dst, h.size)
	dst = binary.AppendVarint(dst, h.stamp)
	dst = binary.AppendUvarint(dst, h.floor)
	return binary.AppendUvarint(dst, h.version)
}

func (d *decoder) head() head {
	return head{d.Uvarint(), d.Varint(), d.Varint(), d.Varint(), d.Uvarint(), d.Uvarint()}
}

// segment is a run of consecutive messages of one channel. Its elements never change, and
// appending leaves copies of the struct intact.
type segment struct {
	before   int64 // payload bytes of the channel before the first message
	bytes    int64 // payload bytes
	messages []Message
}

func (s *segment) empty() bool   { return len(s.messages) == 0 }
func (s *segment) first() uint64 { return s.messages[0].Offset }
func (s *segment) last() uint64  { return s.messages[len(s.messages)-1].Offset }

// at returns the edge at offset, which lies in the segment.
func (s *segment) at(offset uint64) edge {
	i := int(offset - s.first())
	before := s.before
	if i <= len(s.messages)/2 {
		for _, m := range s.messages[:i] {
			before += int64(len(m.Data))
		}
	} else {
		before += s.bytes
		for _, m := range s.messages[i:] {
			before -= int64(len(m.Data))
		}
	}
	return edge{offset, s.messages[i].Timestamp, before}
}

// next returns the edge after the message behind at.
func (s *segment) next(at edge) edge {
	i := at.offset - s.first()
	return edge{at.offset + 1, s.messages[i+1].Timestamp, at.before + int64(len(s.messages[i].Data))}
}

// from returns the part of the segment from an offset on.
func (s segment) from(offset uint64) segment {
	switch {
	case s.empty() || offset <= s.first():
		return s
	case offset > s.last():
		return segment{}
	}
	before := s.at(offset).before
	return segment{before, s.bytes - (before - s.before), s.messages[offset-s.first():]}
}

// join returns the segment extended by the one that follows it.
func (s segment) join(next segment) segment {
	if s.empty() {
		return next
	}
	return segment{s.before, s.bytes + next.bytes, slices.Concat(s.messages, next.messages)}
}

// detach returns a copy that aliases nothing.
func (s segment) detach() segment {
	size := 0
	for _, m := range s.messages {
		size += len(m.Data)
	}
	buffer := make([]byte, 0, size)
	copied := make([]Message, len(s.messages))
	for i, m := range s.messages {
		n := len(buffer)
		buffer = append(buffer, m.Data...)
		copied[i] = Message{m.Offset, m.Timestamp, buffer[n:len(buffer):len(buffer)]}
	}
	return segment{s.before, s.bytes, copied}
}

// edge is a place between two messages: before payload bytes of the channel lie before the
// message at offset, which has this stamp.
type edge struct {
	offset uint64
	stamp  int64
	before int64
}

// Bounds of a chunk, so that a page of history reads little more than it returns. A chunk
// has at least one message, which may be larger.
const (
	chunkMessages = 256
	chunkBytes    = 64 << 10
)

// chunk returns the value to store for a segment at key, and the segment with its messages
// aliasing that value. Its body is:
//
//	varint payload bytes before it | uvarint count |
//	count × ( varint stamp, minus that of the one before | uvarint length | payload )
func (s *segment) chunk(key []byte) (value []byte, copied segment) {
	size := int(s.bytes) + 3*binary.MaxVarintLen64 + len(s.messages)*2*binary.MaxVarintLen32
	body := make([]byte, 0, size+crc32.Size)
	body = binary.AppendVarint(body, s.before)
	body = binary.AppendUvarint(body, uint64(len(s.messages)))
	copied = segment{s.before, s.bytes, make([]Message, len(s.messages))}
	var stamp int64
	for i, m := range s.messages {
		body = binary.AppendVarint(body, m.Timestamp-stamp)
		body = wire.AppendBytes(body, m.Data)
		n := len(body)
		copied.messages[i] = Message{m.Offset, m.Timestamp, body[n-len(m.Data) : n : n]}
		stamp = m.Timestamp
	}
	return seal(bucketChunks, key, body), copied
}

// decodeChunk returns the messages of a stored chunk. Their Data aliases value.
func decodeChunk(key, value []byte) (segment, error) {
	_, _, rest, err := splitChannelKey(key)
	if err != nil {
		return segment{}, err
	}
	if len(rest) != 8 {
		return segment{}, fmt.Errorf("split key %q: %w", key, errCorrupt)
	}
	offset := binary.BigEndian.Uint64(rest)
	var s segment
	err = open(bucketChunks, key, value, func(d *decoder) {
		before, n := d.Varint(), d.Count()
		if n == 0 {
			d.Fail(wire.ErrTruncated)
			return
		}
		s = d.messages(offset, n)
		s.before = before
	})
	return s, err
}

// split cuts a segment into segments of at most a chunk.
func (s segment) split() []segment {
	parts := make([]segment, 0, 1)
	for !s.empty() {
		part := segment{before: s.before}
		n := 0
		for n < len(s.messages) && n < chunkMessages {
			size := int64(len(s.messages[n].Data))
			if n > 0 && part.bytes+size > chunkBytes {
				break
			}
			part.bytes += size
			n++
		}
		part.messages = s.messages[:n:n]
		parts = append(parts, part)
		s = segment{s.before + part.bytes, s.bytes - part.bytes, s.messages[n:]}
	}
	return parts
}

// memory holds the newest messages of a channel, without a hole between its parts. A copy
// stays the same while the channel goes on.
type memory struct {
	cached   []segment // durable, one per chunk; the elements never change
	flushing segment   // being written
	fresh    segment   // not yet durable
}

// first returns the oldest offset in memory.
func (m *memory) first() (offset uint64, ok bool) {
	switch {
	case len(m.cached) > 0:
		return m.cached[0].first(), true
	case !m.flushing.empty():
		return m.flushing.first(), true
	case !m.fresh.empty():
		return m.fresh.first(), true
	}
	return 0, false
}

// segment returns the segment that holds offset, or the oldest one if offset is below all.
func (m *memory) segment(offset uint64) (s *segment, ok bool) {
	i := sort.Search(len(m.cached), func(i int) bool { return m.cached[i].last() >= offset })
	switch {
	case i < len(m.cached):
		return &m.cached[i], true
	case !m.flushing.empty() && m.flushing.last() >= offset:
		return &m.flushing, true
	case !m.fresh.empty() && m.fresh.last() >= offset:
		return &m.fresh, true
	}
	return nil, false
}

// between returns the messages above one offset up to another, all of which are in memory.
// It copies nothing if one segment holds them all.
func (m *memory) between(after, to uint64) []Message {
	var messages []Message
	for after < to {
		s, _ := m.segment(after + 1)
		part := s.messages[after+1-s.first():]
		part = part[:min(uint64(len(part)), to-after)]
		if messages == nil {
			messages = slices.Clip(part)
		} else {
			messages = append(messages, part...)
		}
		after += uint64(len(part))
	}
	return messages
}

// channel is a channel in memory, because it was published to recently. State.mu guards its
// fields, except where noted.
type channel struct {
	key ChannelKey
	head
	memory

	dirty    bool   // in State.gathering
	writing  bool   // in State.flushing
	dropped  bool   // its project is gone
	stored   bool   // in a block
	touched  bool   // in State.touched
	notified uint64 // newest offset the observer knows of, while touched

	next, prev *channel // in State.cache
	cost       int64    // as counted there
	stale      int      // removed segments whose memory cached still holds

	trimmed uint64 // for the flusher: no whole chunk lies below this offset

	used     atomic.Bool          // set by readers since the cache's hand last passed
	earliest atomic.Pointer[edge] // set by readers, as last computed
}

// messageArena allocates room for the first messages of many channels at once. Most
// channels of a flush get one message each, and all is freed with that flush or the next.
type messageArena []Message

func (a *messageArena) take() []Message {
	if len(*a) == 0 {
		*a = make([]Message, 64)
	}
	one := (*a)[:0:1]
	*a = (*a)[1:]
	return one
}

// doublingFrom is the length from which append grows a slice by less than its length.
const doublingFrom = 256

// append adds a message after the newest one.
func (c *channel) append(stamp int64, data []byte) Message {
	m := Message{c.offset + 1, stamp, data}
	if c.fresh.empty() {
		c.fresh.before = c.total
	}
	if n := len(c.fresh.messages); n == cap(c.fresh.messages) && n >= doublingFrom {
		// append would grow it by a quarter, and copy each message five times until it is flushed.
		c.fresh.messages = append(make([]Message, 0, 2*n), c.fresh.messages...)
	}
	c.fresh.messages = append(c.fresh.messages, m)
	c.fresh.bytes += int64(len(data))
	c.offset, c.stamp, c.size = m.Offset, stamp, int64(len(data))
	c.total += c.size
	return m
}

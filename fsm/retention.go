package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// The retained messages of a channel are a function of the committed entries and the stamp.
// They are therefore exact at any moment and the same on every node at the same index. Each
// node's flusher decides when expired messages leave the disk.

// pastRules holds the rules that a project had until a stamp. Channels without a publish
// since need them: messages that those rules expired must not return under wider ones.
type pastRules struct {
	version uint64
	until   int64 // Unix ms
	rules   []Rule
}

// maxPastRules bounds the changes of a project's rules within the longest time that they
// keep messages.
const maxPastRules = 256

// retentionView is a channel at one moment: its head, its newest messages in memory and a
// transaction with the others. It is for one goroutine.
type retentionView struct {
	key         ChannelKey
	project     *project
	stamp       int64 // of the state
	cappedUntil int64 // the cluster's cap has expired messages up to this stamp
	head
	memory          // together with the chunks it leaves no hole
	tx     *bolt.Tx // nil if the disk is not needed
	prefix []byte   // of the keys of its chunks: the channel's own key
	tail   *segment // as stored, nil until it is read
	known  *edge    // before a message that was once the oldest retained, or nil
}

// readFrom adds a transaction to the view.
func (v *retentionView) readFrom(tx *bolt.Tx) {
	v.tx = tx
	v.prefix = appendChannelKey(nil, v.key)
}

// retained reports whether the message behind an edge is retained. If so, all newer ones
// are too.
type retained func(at edge) bool

// retained returns the test of a rule's age and bytes, as of a stamp, and of the cluster's
// cap.
func (v *retentionView) retained(rule Rule, stamp int64) retained {
	oldest := max(stamp-rule.KeepFor.Milliseconds(), v.cappedUntil)
	return func(at edge) bool {
		return at.stamp > oldest && (rule.KeepBytes <= 0 || v.total-at.before <= rule.KeepBytes)
	}
}

// lowest returns the lowest offset that floor and the rule's count allow.
func (h *head) lowest(rule Rule, floor uint64) uint64 {
	keep := uint64(max(rule.KeepMessages, 0))
	if h.offset <= keep {
		return max(floor, 1)
	}
	return max(floor, h.offset-keep+1)
}

// needsDisk reports whether chunks are needed to find earliest, or to read retained
// messages from an offset on.
func (v *retentionView) needsDisk(from uint64) bool {
	memory, ok := v.first()
	if !ok {
		memory = v.offset + 1
	}
	rule := v.project.Rule(v.key.Name)
	low := v.lowest(rule, v.floor)
	if v.version != v.project.version {
		return true
	}
	if low >= memory {
		return false
	}
	keep := v.retained(rule, v.stamp)
	if !keep(v.newest()) {
		return false
	}
	return from < memory || v.known == nil || v.known.offset < low || !keep(*v.known)
}

// newest returns the edge before the newest message.
func (v *retentionView) newest() edge { return edge{v.offset, v.head.stamp, v.total - v.size} }

// earliest returns the edge before the oldest retained message, or the end of the channel
// if nothing is retained.
func (v *retentionView) earliest() (edge, error) {
	floor, err := v.settledFloor()
	if err != nil {
		return edge{}, err
	}
	rule := v.project.Rule(v.key.Name)
	low := v.lowest(rule, floor)
	keep := v.retained(rule, v.stamp)
	if v.known != nil {
		if v.known.offset >= low && keep(*v.known) {
			return *v.known, nil
		}
		low = max(low, v.known.offset)
	}
	return v.boundary(low, keep)
}

// settledFloor returns the channel's floor with all past rules accounted for. Nobody has
// published to the channel since the first of them ended, so its head is as it was.
func (v *retentionView) settledFloor() (uint64, error) {
	floor := v.floor
	for _, past := range v.project.past {
		if past.version < v.version {
			continue
		}
		rule := ruleOf(past.rules, v.key.Name)
		at, err := v.boundary(v.lowest(rule, floor), v.retained(rule, past.until))
		if errors.Is(err, errMissing) {
			// The message was retained then and is deleted now, so a later rule or the cap
			// has expired everything.
			return v.offset + 1, nil
		}
		if err != nil {
			return 0, err
		}
		floor = max(floor, at.offset)
	}
	return floor, nil
}

// boundary returns the edge before the first retained message from low on, or the end of
// the channel.
func (v *retentionView) boundary(low uint64, keep retained) (edge, error) {
	found := edge{v.offset + 1, v.head.stamp, v.total}
	if low > v.offset || !keep(v.newest()) {
		return found, nil
	}
	// NoOp below low is retained, everything from found on is. Most often the
	// message at low is retained, so it is asked before the halving begins.
	for probe := low; low < found.offset; probe = low + (found.offset-low)/2 {
		s, err := v.segment(probe)
		if err != nil {
			return edge{}, err
		}
		if s.first() > probe {
			// The chunks before this one are deleted, so none was retained.
			low = s.first()
			if low >= found.offset {
				break
			}
		}
		at := s.at(max(s.first(), low))
		if keep(at) {
			found = at
			continue
		}
		for at.offset < s.last() && !keep(at) {
			at = s.next(at)
		}
		if keep(at) {
			return at, nil
		}
		low = at.offset + 1
	}
	return found, nil
}

// segment returns the segment that holds offset, or the oldest after it. Its messages may
// alias the transaction.
func (v *retentionView) segment(offset uint64) (segment, error) {
	if first, ok := v.first(); v.tx != nil && (!ok || offset < first) {
		tail, err := v.storedTail()
		if err != nil {
			return segment{}, err
		}
		if !tail.empty() && tail.first() <= offset && offset <= tail.last() {
			return tail, nil
		}
		if s, ok, err := v.chunk(offset); ok || err != nil {
			return s, err
		}
		if !tail.empty() && tail.last() >= offset {
			return tail, nil
		}
	}
	if s, ok := v.memory.segment(offset); ok {
		return *s, nil
	}
	return segment{}, v.missing(offset)
}

func (v *retentionView) missing(offset uint64) error {
	return fmt.Errorf("channel %q of project %q: message %d: %w", v.key.Name, v.key.Project, offset, errMissing)
}

// load reads the stored head and tail of the channel.
func (v *retentionView) load() (h head, stored bool, err error) {
	blocks := blockReader{cursor: v.tx.Bucket(bucketChannels).Cursor()}
	body, stored, err := blocks.find(v.prefix)
	if err != nil {
		return h, false, err
	}
	v.tail = &segment{}
	if !stored {
		return h, false, nil
	}
	h, tail, err := decodeChannel(v.prefix, body)
	if err == nil {
		*v.tail, err = decodeTail(v.prefix, h, tail)
	}
	return h, true, err
}

// storedTail returns the stored tail.
func (v *retentionView) storedTail() (segment, error) {
	if v.tail == nil {
		if _, _, err := v.load(); err != nil {
			return segment{}, err
		}
	}
	return *v.tail, nil
}

// chunk is segment for chunks.
func (v *retentionView) chunk(offset uint64) (s segment, ok bool, err error) {
	c := v.tx.Bucket(bucketChunks).Cursor()
	sought := appendChunkKey(nil, v.prefix, offset)
	key, value := c.Seek(sought)
	if key == nil || !bytes.HasPrefix(key, v.prefix) || binary.BigEndian.Uint64(key[len(v.prefix):]) > offset {
		before, content := seekBefore(c, sought, key)
		if bytes.HasPrefix(before, v.prefix) {
			s, err = decodeChunk(before, content)
			if err != nil || s.last() >= offset {
				return s, true, err
			}
		}
	}
	if !bytes.HasPrefix(key, v.prefix) {
		return segment{}, false, nil
	}
	s, err = decodeChunk(key, value)
	return s, true, err
}

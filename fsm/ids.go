package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Message ids are remembered for idWindow by the cluster's stamp. A publish that is repeated
// in that time gets its first receipt. No id is forgotten early: a full table refuses new
// ids. The bounds are the same on every node, since they decide replicated state. A million
// ids take some 112 MB.
const (
	idWindow = 10 * 60 * 1000 // ms
	maxIDs   = 4 << 20
)

// idHash stands for project, channel, id and the scope of its sender. It is half a SHA-256,
// so a collision requires an attack on that.
type idHash [16]byte

func hashID(p publication, key *Key) idHash {
	var buf [3*binary.MaxVarintLen64 + maxProjectID + maxChannelName + maxMessageID + 9]byte
	b := wire.AppendBytes(buf[:0], p.project)
	b = wire.AppendBytes(b, p.channel)
	b = wire.AppendBytes(b, p.id)
	b = p.appendScope(b, key)
	sum := sha256.Sum256(b)
	return idHash(sum[:16])
}

// seenID is an id and the receipt of its message.
type seenID struct {
	hash   idHash
	offset uint64
	stamp  int64
	sum    uint64 // of the message; 0 if it came without a sender
}

// idTable is a queue of ids, oldest first, with an index. Stamps never go back, so the
// oldest expires first. Sequence numbers count all ids ever added.
type idTable struct {
	queue []seenID
	first uint64 // sequence number of queue[0]
	index map[idHash]uint64
	// legacy counts the ids without a sum, from programs of feature level 1, in which all
	// senders shared their ids.
	legacy int
}

func newIDTable() *idTable { return &idTable{index: make(map[idHash]uint64)} }

func (t *idTable) next() uint64 { return t.first + uint64(len(t.queue)) }

// expire forgets the ids that are idWindow old.
func (t *idTable) expire(stamp int64) {
	n := 0
	for n < len(t.queue) && t.queue[n].stamp+idWindow <= stamp {
		// The index may have a later use of the id, when both were loaded.
		if h := t.queue[n].hash; t.index[h] == t.first+uint64(n) {
			delete(t.index, h)
		}
		if t.queue[n].sum == 0 {
			t.legacy--
		}
		n++
	}
	t.queue = t.queue[n:]
	t.first += uint64(n)
}

func (t *idTable) find(h idHash) (seenID, bool) {
	seq, ok := t.index[h]
	if !ok {
		return seenID{}, false
	}
	return t.queue[seq-t.first], true
}

func (t *idTable) full() bool { return len(t.queue) >= maxIDs }

func (t *idTable) add(id seenID) {
	if id.sum == 0 {
		t.legacy++
	}
	t.index[id.hash] = t.next()
	t.queue = append(t.queue, id)
}

// seen finds the id of a publish. While ids of feature level 1 remain, it also finds those,
// whoever sent them.
func (a *application) seen(p publication, hash idHash) (seenID, bool) {
	seen, ok := a.ids.find(hash)
	if ok || a.ids.legacy == 0 || p.from.kind == NoSender {
		return seen, ok
	}
	p.from.kind = NodeSender
	seen, ok = a.ids.find(hashID(p, nil))
	return seen, ok && seen.sum == 0
}

// idsPerRecord bounds the ids stored in one record.
const idsPerRecord = 1024

// appendIDs appends the body of a record of ids:
//
//	uvarint count | count × ( hash (16) | uvarint offset | varint stamp )
//
// or, with sums, which programs of feature level 1 do not know,
//
//	0 | summedIDs | uvarint count | count × ( hash (16) | uvarint offset | varint stamp | sum (8) )
func appendIDs(dst []byte, ids []seenID) []byte {
	summed := slices.ContainsFunc(ids, func(id seenID) bool { return id.sum != 0 })
	if summed {
		dst = append(dst, 0, summedIDs)
	}
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		dst = append(dst, id.hash[:]...)
		dst = binary.AppendUvarint(dst, id.offset)
		dst = binary.AppendVarint(dst, id.stamp)
		if summed {
			dst = binary.BigEndian.AppendUint64(dst, id.sum)
		}
	}
	return dst
}

const summedIDs = 1

func (d *decoder) ids() []seenID {
	n := d.Count()
	summed := n == 0 && d.Err == nil && len(d.Rest) > 0
	if summed {
		if version := d.Byte(); version != summedIDs {
			d.Fail(fmt.Errorf("record of ids has version %d, this program knows %d", version, summedIDs))
		}
		n = d.Count()
	}
	ids := make([]seenID, 0, min(n, idsPerRecord))
	for i := 0; i < n && d.Err == nil; i++ {
		var id seenID
		copy(id.hash[:], d.Fixed(uint64(len(id.hash))))
		id.offset, id.stamp = d.Uvarint(), d.Varint()
		if summed {
			id.sum = d.Uint64()
		}
		ids = append(ids, id)
	}
	return ids
}

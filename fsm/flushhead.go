package fsm

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// flushHead is a channel as of the moment when its flush set was closed.
type flushHead struct {
	channel *channel
	head
	fresh    segment // the new messages
	notified bool    // the observer has seen them
	stay     bool    // they stay in memory even if they are few

	kept []segment // messages that stay in memory; filled in by the flusher
}

// beginFlush hands the new messages to the flusher. State.mu is held.
func (ch *channel) beginFlush() flushHead {
	ch.writing = true
	ch.flushing, ch.fresh = ch.fresh, segment{}
	return flushHead{
		channel:  ch,
		head:     ch.head,
		fresh:    ch.flushing,
		notified: !ch.touched,
		stay:     ch.touched || len(ch.cached) > 0, // memory has no hole
	}
}

// endFlush marks the messages as durable. State.mu is held.
func (h *flushHead) endFlush(c *cache) {
	ch := h.channel
	ch.writing, ch.stored = false, true
	ch.flushing = segment{}
	if ch.dropped {
		return
	}
	for _, s := range h.kept {
		c.keep(ch, s)
	}
}

// Merged entries are written once they exceed mergeBytes. They make several blocks by then,
// and the last one takes the rest.
const mergeBytes = 8 * blockBytes

// writeChannels stores the channels of the set, block by block.
func (c *flushSet) writeChannels(d *deletion) error {
	type keyed struct {
		key  []byte
		head *flushHead
	}
	size := 0
	for i := range c.heads {
		k := &c.heads[i].channel.key
		size += len(k.Project) + len(k.Name) + 2
	}
	keys := make([]byte, 0, size)
	order := make([]keyed, len(c.heads))
	for i := range c.heads {
		begin := len(keys)
		keys = appendChannelKey(keys, c.heads[i].channel.key)
		order[i] = keyed{keys[begin:len(keys):len(keys)], &c.heads[i]}
	}
	slices.SortFunc(order, func(a, b keyed) int { return bytes.Compare(a.key, b.key) })

	blocks := d.tx.Bucket(bucketChannels).Cursor()
	var b block
	var merged []entry
	var bodies []byte // of one block, until it is written
	for len(order) > 0 {
		if err := b.read(blocks, order[0].key); err != nil {
			return err
		}
		merged, bodies = merged[:0], bodies[:0]
		old := b.entries
		for ; len(order) > 0 && len(bodies) < mergeBytes && b.covers(order[0].key); order = order[1:] {
			next := order[0]
			for len(old) > 0 && bytes.Compare(old[0].key, next.key) < 0 {
				merged = append(merged, old[0])
				old = old[1:]
			}
			var stored []byte
			if len(old) > 0 && bytes.Equal(old[0].key, next.key) {
				stored = old[0].body
				old = old[1:]
			}
			if next.head.forgotten() && stored != nil {
				done, err := d.chunks(next.key, noOffset)
				if err != nil {
					return err
				}
				if done {
					stored = nil
				} // else the sweep deletes the rest
			}
			if next.head.forgotten() && stored == nil {
				continue
			}
			begin := len(bodies)
			var err error
			if bodies, err = next.head.write(bodies, d, next.key, stored, c.projects); err != nil {
				return err
			}
			merged = append(merged, entry{next.key, bodies[begin:]})
		}
		merged = append(merged, old...)
		if err := b.write(d.writer, merged); err != nil {
			return err
		}
	}
	return nil
}

// write appends the channel's body to dst. stored is its present body, or nil. It stores
// full chunks and deletes chunks that the rule's count expired.
func (h *flushHead) write(dst []byte, d *deletion, key, stored []byte, projects map[string]*project) ([]byte, error) {
	if h.forgotten() {
		return append(h.head.append(dst), emptyTail...), nil
	}
	name := &h.channel.key
	low := h.lowest(projects[name.Project].Rule(name.Name), h.floor)
	from := low
	if !h.notified {
		from = 0
	}
	was, tail := head{}, emptyTail
	if stored != nil {
		var err error
		if was, tail, err = decodeChannel(key, stored); err != nil {
			return nil, err
		}
		if h.floor > was.offset {
			was, tail = head{}, emptyTail // of before it was purged or forgotten
		}
	}
	fresh := h.fresh.from(from)
	if h.stay && !fresh.empty() {
		h.kept = []segment{fresh.detach()}
	}
	room := tailBytes - tailSize(fresh)
	dst = h.head.append(dst)
	n := tailCount(tail)
	if room >= len(tail) && (n == 0 || from <= was.offset-n+1) {
		return extendTail(dst, tail, was.stamp, fresh.messages), nil
	}
	older, err := decodeTail(key, was, tail)
	if err != nil {
		return nil, err
	}
	joined := older.from(from).join(fresh)
	if tailSize(joined) <= tailBytes {
		return appendTail(dst, joined.messages), nil
	}
	h.kept = joined.split()
	for i := range h.kept {
		k := binary.BigEndian.AppendUint64(key, h.kept[i].first())
		var value []byte
		value, h.kept[i] = h.kept[i].chunk(k)
		if err := d.store(bucketChunks, k, value); err != nil {
			return nil, err
		}
	}
	return appendTail(dst, nil), h.trim(d, key, low)
}

// trimEvery is the number of messages by which a channel must advance before a flush
// deletes chunks that the count of its rule expired.
const trimEvery = 64

// trim deletes the chunks of a channel below an offset. The sweep deletes those that it has
// no time for.
func (h *flushHead) trim(d *deletion, key []byte, low uint64) error {
	ch := h.channel
	if low < ch.trimmed+trimEvery {
		return nil
	}
	done, err := d.chunks(key, low)
	if done {
		ch.trimmed = low
	}
	return err
}

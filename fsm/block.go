package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Most channels are small, so a bbolt record for each would cost more than its content.
// Neighbouring channels therefore share a record, called a block, and a flush with new
// messages for many of them writes it once. A block holds the channels from its own key up
// to the key of the next block, in order, each as
//
//	uvarint bytes that its key shares with the one before | rest of its key | body
//
// Both are strings. The key of the first block is below every channel's key.
const (
	blockBytes = 2 << 10 // a larger block is split
	blockFill  = blockBytes * 3 / 4
)

var firstBlock = []byte{0}

// entry is one channel in a block.
type entry struct{ key, body []byte }

// scanBlock calls fn with the channels of a block until it returns false. The key is valid
// only until fn returns; the body aliases value.
func scanBlock(key, value []byte, fn func(channel, body []byte) bool) error {
	body, err := unseal(bucketChannels, key, value)
	if err != nil {
		return err
	}
	return scanEntries(key, body, fn)
}

// scanEntries is scanBlock for the verified content of a block.
func scanEntries(key, entries []byte, fn func(channel, body []byte) bool) error {
	var buffer [maxProjectID + maxChannelName + 2]byte
	channel := buffer[:0]
	d := decoder{wire.Reader{Rest: entries}}
	for len(d.Rest) > 0 {
		shared, rest, body := d.Uvarint(), d.Bytes(), d.Bytes()
		if d.Err == nil && shared > uint64(len(channel)) {
			d.Fail(errCorrupt)
		}
		if d.Err != nil {
			return fmt.Errorf("decode %s %q: %w: %w", bucketChannels, key, errCorrupt, d.Err)
		}
		channel = append(channel[:shared], rest...)
		if !fn(channel, body) {
			return nil
		}
	}
	return nil
}

// seekBlock returns the block that a channel belongs to, or nil if there is none. end is
// the first key from the channel on, or nil.
func seekBlock(c *bolt.Cursor, channel []byte) (key, value, end []byte) {
	end, value = c.Seek(channel)
	if bytes.Equal(end, channel) {
		return end, value, end
	}
	key, value = seekBefore(c, channel, end)
	return key, value, end
}

// blockReader finds channels within a read transaction. It remembers its last block, since
// neighbours tend to be asked for together.
type blockReader struct {
	cursor       *bolt.Cursor
	key, entries []byte // of the block, nil if there is none
	end          []byte // first key above the block; nil: there is none
}

// find returns the stored body of a channel.
func (r *blockReader) find(channel []byte) (body []byte, stored bool, err error) {
	if !r.covers(channel) {
		if err := r.seek(channel); err != nil || r.key == nil {
			return nil, false, err
		}
	}
	err = scanEntries(r.key, r.entries, func(found, b []byte) bool {
		order := bytes.Compare(found, channel)
		if order == 0 {
			body, stored = b, true
		}
		return order < 0
	})
	return body, stored, err
}

func (r *blockReader) covers(channel []byte) bool {
	return r.key != nil && bytes.Compare(r.key, channel) <= 0 && (r.end == nil || bytes.Compare(channel, r.end) < 0)
}

func (r *blockReader) seek(channel []byte) (err error) {
	var value []byte
	if r.key, value, r.end = seekBlock(r.cursor, channel); r.key != nil {
		r.entries, err = unseal(bucketChannels, r.key, value)
	}
	return err
}

// block is a block that is about to change.
type block struct {
	key     []byte
	stored  bool
	end     []byte // key of the next one, nil when there is none
	entries []entry
	keys    []byte // scratch
}

// read reads the block that a channel belongs to. It aliases the transaction and
// invalidates the entries read before.
func (b *block) read(c *bolt.Cursor, channel []byte) error {
	key, value, _ := seekBlock(c, channel)
	b.entries, b.keys = b.entries[:0], b.keys[:0]
	if b.stored = key != nil; !b.stored {
		b.end, _ = c.First()
		b.key = firstBlock
		return nil
	}
	b.key = key
	err := scanBlock(key, value, func(channel, body []byte) bool {
		begin := len(b.keys)
		b.keys = append(b.keys, channel...)
		b.entries = append(b.entries, entry{b.keys[begin:], body})
		return true
	})
	b.end, _ = c.Next()
	return err
}

// covers reports whether a channel that is not below the block belongs to it.
func (b *block) covers(channel []byte) bool { return b.end == nil || bytes.Compare(channel, b.end) < 0 }

// write replaces the block by other entries, as one block or several.
func (b *block) write(w *writer, entries []entry) error {
	if len(entries) == 0 {
		if !b.stored {
			return nil
		}
		return w.remove(bucketChannels, b.key)
	}
	size := 0
	for _, e := range entries {
		size += e.size()
	}
	limit := size
	if size > blockBytes {
		limit = size / ((size + blockFill - 1) / blockFill)
	}
	key := b.key
	for rest := entries; len(rest) > 0; {
		n, size := 0, 0
		for n < len(rest) && (n == 0 || size < limit) {
			size += rest[n].size()
			n++
		}
		body := appendEntries(make([]byte, 0, size+4), rest[:n])
		if err := w.put(bucketChannels, key, body); err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) > 0 {
			key = rest[0].key
		}
	}
	return nil
}

// size returns about how many bytes the entry takes in a block.
func (e entry) size() int { return len(e.key) + len(e.body) + 4 }

func appendEntries(dst []byte, entries []entry) []byte {
	var last []byte
	for _, e := range entries {
		shared := 0
		for shared < min(len(last), len(e.key)) && last[shared] == e.key[shared] {
			shared++
		}
		dst = binary.AppendUvarint(dst, uint64(shared))
		dst = wire.AppendBytes(dst, e.key[shared:])
		dst = wire.AppendBytes(dst, e.body)
		last = e.key
	}
	return dst
}

// eachChannel calls fn with every stored channel in order, until it returns false. It
// begins at the block that from belongs to.
func eachChannel(tx *bolt.Tx, from []byte, fn func(channel, body []byte) bool) error {
	c := tx.Bucket(bucketChannels).Cursor()
	key, value, _ := seekBlock(c, from)
	if key == nil {
		key, value = c.First()
	}
	for on := true; on && key != nil; key, value = c.Next() {
		err := scanBlock(key, value, func(channel, body []byte) bool {
			on = fn(channel, body)
			return on
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// verifyChannels verifies all channels, their order and tails, and calls fn with each tail.
func verifyChannels(tx *bolt.Tx, fn func(tail segment)) error {
	var last []byte
	var wrong error
	err := eachChannel(tx, firstBlock, func(channel, body []byte) bool {
		if bytes.Compare(last, channel) >= 0 {
			wrong = fmt.Errorf("channel %q behind %q: %w", channel, last, errCorrupt)
			return false
		}
		last = append(last[:0], channel...)
		h, tail, err := decodeChannel(channel, body)
		if err != nil {
			wrong = err
			return false
		}
		s, err := decodeTail(channel, h, tail)
		if err != nil {
			wrong = err
			return false
		}
		if !h.forgotten() {
			fn(s)
		}
		return true
	})
	return errors.Join(err, wrong)
}

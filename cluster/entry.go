package cluster

import (
	"encoding/binary"
	"fmt"
)

// An entry of the Raft log:
//
//	0      1                       9
//	+------+-----------------------+---------+- - - - - - -+
//	| vers | stamp, ms, big endian | n, uvar | n batches   |
//	+------+-----------------------+---------+- - - - - - -+
//
// and a batch, which is also what a forwarder sends to the leader:
//
//	+------------+-----------+-------------+---------+- - - - - - - - - - - - - +
//	| session 16 | seq, uvar | acked, uvar | n, uvar | n commands, length first |
//	+------------+-----------+-------------+---------+- - - - - - - - - - - - - +
//
// An entry without batches is a tick: it brings its stamp and nothing else.
const (
	entryVersion     = 1
	entryHeaderBytes = 1 + 8
)

// batch is the commands of one forwarder under one number.
type batch struct {
	session  Session
	seq      uint64
	acked    uint64 // results up to this number will not be asked for again
	commands [][]byte
}

// entry is what one Raft log entry carries.
type entry struct {
	stamp   int64 // Unix ms
	batches []batch
}

// encodeBatch returns the batch's bytes.
func encodeBatch(b batch) []byte {
	size := len(b.session) + 3*binary.MaxVarintLen64
	for _, command := range b.commands {
		size += binary.MaxVarintLen32 + len(command)
	}
	out := make([]byte, 0, size)
	out = append(out, b.session[:]...)
	out = binary.AppendUvarint(out, b.seq)
	out = binary.AppendUvarint(out, b.acked)
	out = binary.AppendUvarint(out, uint64(len(b.commands)))
	for _, command := range b.commands {
		out = appendBytes(out, command)
	}
	return out
}

// batch reads one batch. Commands alias the cursor's bytes.
func (c *cursor) batch() batch {
	b, n := c.batchHead()
	if c.err != nil {
		return batch{}
	}
	b.commands = make([][]byte, n)
	for i := range b.commands {
		b.commands[i] = c.bytes()
	}
	return b
}

// batchHead reads a batch up to its commands and returns their number.
func (c *cursor) batchHead() (b batch, n int) {
	copy(b.session[:], c.take(len(b.session)))
	b.seq = c.uvarint()
	b.acked = c.uvarint()
	n = c.count()
	if c.err == nil && (b.seq == 0 || b.acked >= b.seq || n == 0) {
		c.err = fmt.Errorf("batch %d (acked %d) of %d commands is not a possible one", b.seq, b.acked, n)
	}
	return b, n
}

// checkBatch reports whether raw is exactly one batch of commands that pass check.
func checkBatch(raw []byte, check func(command []byte) error) error {
	c := cursor{rest: raw}
	for _, n := c.batchHead(); c.err == nil && n > 0; n-- {
		command := c.bytes()
		if c.err != nil {
			break
		}
		if err := check(command); err != nil {
			return err
		}
	}
	if err := c.end(); err != nil {
		return fmt.Errorf("%w: batch: %w", ErrMalformed, err)
	}
	return nil
}

// encodeEntry joins encoded batches under a stamp.
func encodeEntry(stamp int64, batches [][]byte) []byte {
	size := entryHeaderBytes + binary.MaxVarintLen32
	for _, b := range batches {
		size += len(b)
	}
	out := make([]byte, 0, size)
	out = append(out, entryVersion)
	out = binary.BigEndian.AppendUint64(out, uint64(stamp))
	out = binary.AppendUvarint(out, uint64(len(batches)))
	for _, b := range batches {
		out = append(out, b...)
	}
	return out
}

// decodeEntry reads an entry. Commands alias raw.
func decodeEntry(raw []byte) (entry, error) {
	if len(raw) < entryHeaderBytes {
		return entry{}, errShort
	}
	if raw[0] != entryVersion {
		return entry{}, fmt.Errorf("entry has version %d, this program knows %d", raw[0], entryVersion)
	}
	e := entry{stamp: int64(binary.BigEndian.Uint64(raw[1:]))}
	c := cursor{rest: raw[entryHeaderBytes:]}
	n := c.count()
	for range n {
		e.batches = append(e.batches, c.batch())
		if c.err != nil {
			return entry{}, c.err
		}
	}
	return e, c.end()
}

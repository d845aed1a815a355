package cluster

import (
	"encoding/binary"
	"fmt"

	"github.com/aptlyd/aptlyd/internal/wire"
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

// entry is the content of one Raft log entry.
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
		out = wire.AppendBytes(out, command)
	}
	return out
}

// readBatch reads one batch. Commands alias the input.
func readBatch(r *wire.Reader) batch {
	b, n := readBatchHead(r)
	if r.Err != nil {
		return batch{}
	}
	b.commands = make([][]byte, n)
	for i := range b.commands {
		b.commands[i] = r.Bytes()
	}
	return b
}

// readBatchHead reads a batch up to its commands and returns their number.
func readBatchHead(r *wire.Reader) (b batch, n int) {
	copy(b.session[:], r.Fixed(uint64(len(b.session))))
	b.seq = r.Uvarint()
	b.acked = r.Uvarint()
	n = r.Count()
	if r.Err == nil && (b.seq == 0 || b.acked >= b.seq || n == 0) {
		r.Fail(fmt.Errorf("batch %d (acked %d) of %d commands is not a possible one", b.seq, b.acked, n))
	}
	return b, n
}

// checkBatch reports whether raw is exactly one batch of commands that pass check.
func checkBatch(raw []byte, check func(command []byte) error) error {
	r := wire.Reader{Rest: raw}
	for _, n := readBatchHead(&r); r.Err == nil && n > 0; n-- {
		command := r.Bytes()
		if r.Err != nil {
			break
		}
		if err := check(command); err != nil {
			return err
		}
	}
	if err := r.Finish(); err != nil {
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
		return entry{}, wire.ErrTruncated
	}
	if raw[0] != entryVersion {
		return entry{}, fmt.Errorf("entry has version %d, this program knows %d", raw[0], entryVersion)
	}
	e := entry{stamp: int64(binary.BigEndian.Uint64(raw[1:]))}
	r := wire.Reader{Rest: raw[entryHeaderBytes:]}
	n := r.Count()
	for range n {
		e.batches = append(e.batches, readBatch(&r))
		if r.Err != nil {
			return entry{}, r.Err
		}
	}
	return e, r.Finish()
}

package cluster

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/aptlyd/aptlyd/cluster/compress"
	"github.com/aptlyd/aptlyd/cluster/peer"
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
// or, where every member has compressionLevel, with all from n on in a block of S2:
//
//	+------------+-----------+-------------+---+- - - - - - - - - -+
//	| session 16 | seq, uvar | acked, uvar | 0 | block, length first |
//	+------------+-----------+-------------+---+- - - - - - - - - -+
//
// An entry without batches is a tick: it brings its stamp and nothing else.
const (
	entryVersion     = 1
	entryHeaderBytes = 1 + 8

	// compressionLevel is the feature level from which compressed batches are understood.
	compressionLevel = 2
	// maxBatchBytes bounds what a compressed batch holds, as a frame bounds one that is not.
	maxBatchBytes = peer.MaxFrameBytes
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

// batchEncoder makes the bytes of batches, one goroutine at a time.
type batchEncoder struct {
	compressor *compress.Compressor // nil for none
	understood func() bool          // whether every member understands compressed batches
	scratch    []byte
}

// maxBatchScratch bounds the memory that is kept for the next batch.
const maxBatchScratch = 1 << 20

// encode returns the batch's bytes.
func (e *batchEncoder) encode(b batch) []byte {
	out := append(e.scratch[:0], b.session[:]...)
	out = binary.AppendUvarint(out, b.seq)
	out = binary.AppendUvarint(out, b.acked)
	head := len(out)
	out = binary.AppendUvarint(out, uint64(len(b.commands)))
	for _, command := range b.commands {
		out = wire.AppendBytes(out, command)
	}
	if cap(out) <= maxBatchScratch {
		e.scratch = out
	}
	switch {
	case e.compressor == nil:
	case !e.understood():
		e.compressor.Leave(out[head:])
	default:
		if block, ok := e.compressor.Compress(out[head:]); ok {
			small := make([]byte, 0, head+1+binary.MaxVarintLen32+len(block))
			return wire.AppendBytes(append(append(small, out[:head]...), 0), block)
		}
	}
	return bytes.Clone(out)
}

// encodeBatch returns the batch's bytes.
func encodeBatch(b batch) []byte { return new(batchEncoder).encode(b) }

// readBatch reads one batch. Commands alias the input, unless it was compressed.
func readBatch(r *wire.Reader) batch {
	b, commands, n := openBatch(r, nil)
	b.commands = make([][]byte, n)
	for i := range b.commands {
		b.commands[i] = commands.Bytes()
	}
	if closeBatch(r, commands); r.Err != nil {
		return batch{}
	}
	return b
}

// openBatch reads a batch up to its commands. It returns their number, and the reader that
// reads them: r itself, or another one where they were compressed, on room if that is enough.
func openBatch(r *wire.Reader, room []byte) (b batch, commands *wire.Reader, n int) {
	copy(b.session[:], r.Fixed(uint64(len(b.session))))
	b.seq = r.Uvarint()
	b.acked = r.Uvarint()
	commands = r
	if n = r.Count(); n == 0 && r.Err == nil {
		raw, err := compress.Decompress(room, r.Bytes(), maxBatchBytes)
		if err != nil {
			r.Fail(err)
		}
		commands = &wire.Reader{Rest: raw}
		n = commands.Count()
	}
	if r.Err == nil && (b.seq == 0 || b.acked >= b.seq || n == 0) {
		r.Fail(fmt.Errorf("batch %d (acked %d) of %d commands is not a possible one", b.seq, b.acked, n))
	}
	if r.Err != nil {
		return batch{}, r, 0
	}
	return b, commands, n
}

// closeBatch has r fail if the commands of its batch could not be read to their end.
func closeBatch(r, commands *wire.Reader) {
	if commands != r {
		if err := commands.Finish(); err != nil {
			r.Fail(err)
		}
	}
}

// checkRoom has buffers for the commands of a batch while they are checked.
var checkRoom = sync.Pool{New: func() any { return new([]byte) }}

// checkBatch reports whether raw is exactly one batch of commands that pass check. It returns
// how many bytes it takes once it is not compressed any more, and whether it is.
func checkBatch(raw []byte, check func(command []byte) error) (size int, compressed bool, err error) {
	room := checkRoom.Get().(*[]byte)
	defer checkRoom.Put(room)
	r := wire.Reader{Rest: raw}
	_, commands, n := openBatch(&r, *room)
	size = len(raw)
	if compressed = commands != &r; compressed {
		size += len(commands.Rest)
		if all := commands.Rest; cap(all) > cap(*room) && cap(all) <= maxBatchScratch {
			*room = all
		}
	}
	for ; commands.Err == nil && n > 0; n-- {
		command := commands.Bytes()
		if commands.Err != nil {
			break
		}
		if err := check(command); err != nil {
			return 0, compressed, err
		}
	}
	closeBatch(&r, commands)
	if err := r.Finish(); err != nil {
		return 0, compressed, fmt.Errorf("%w: batch: %w", ErrMalformed, err)
	}
	return size, compressed, nil
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

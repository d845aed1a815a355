// Package wire reads and appends the parts that binary forms are made of: uvarints and
// zigzag varints, byte strings after their length, booleans and lists after their count.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrTruncated says that bytes end too early or that a length is out of bounds.
var ErrTruncated = errors.New("truncated")

// Reader reads the parts one after another. The first error sticks; every part that
// follows reads as zero. Byte strings alias the input.
type Reader struct {
	Rest []byte // what is not read yet
	Err  error
}

// Fail notes an error, unless there is one already, and skips the rest.
func (r *Reader) Fail(err error) {
	if r.Err == nil {
		r.Err = err
	}
	r.Rest = nil
}

// Finish returns the first error, or one that says that bytes are left over.
func (r *Reader) Finish() error {
	if r.Err == nil && len(r.Rest) > 0 {
		return fmt.Errorf("%d bytes left over", len(r.Rest))
	}
	return r.Err
}

// Uvarint reads an unsigned number.
func (r *Reader) Uvarint() uint64 {
	// Nearly every number is a length that fits two bytes.
	if b := r.Rest; len(b) >= 2 {
		if b[0] < 0x80 {
			r.Rest = b[1:]
			return uint64(b[0])
		}
		if b[1] < 0x80 {
			r.Rest = b[2:]
			return uint64(b[0]&0x7f) | uint64(b[1])<<7
		}
	}
	return r.longUvarint()
}

func (r *Reader) longUvarint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 {
		r.Fail(ErrTruncated)
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Varint reads a signed number.
func (r *Reader) Varint() int64 {
	v := r.Uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// Count reads the length of a list. Each element takes at least one byte, so a wrong
// count cannot ask for memory that the input does not justify.
func (r *Reader) Count() int {
	n := r.Uvarint()
	if n > uint64(len(r.Rest)) {
		r.Fail(ErrTruncated)
		return 0
	}
	return int(n)
}

// Fixed reads n bytes.
func (r *Reader) Fixed(n uint64) []byte {
	if n > uint64(len(r.Rest)) {
		r.Fail(ErrTruncated)
		return nil
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

// Bytes reads a byte string after its length.
func (r *Reader) Bytes() []byte { return r.Fixed(r.Uvarint()) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.Fixed(1); b != nil {
		return b[0]
	}
	return 0
}

// Bool reads a boolean, which is 0 or 1.
func (r *Reader) Bool() bool {
	b := r.Byte()
	if b > 1 {
		r.Fail(errors.New("boolean out of range"))
	}
	return b == 1
}

// Uint64 reads eight bytes, big endian.
func (r *Reader) Uint64() uint64 {
	b := r.Fixed(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// AppendBytes appends a byte string after its length.
func AppendBytes[T ~string | ~[]byte](dst []byte, item T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(item))), item...)
}

// AppendBool appends a boolean.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

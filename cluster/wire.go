package cluster

import (
	"encoding/binary"
	"errors"
)

var errShort = errors.New("bytes end too early or a length is out of bounds")

// cursor reads the binary forms of this package. The first error sticks; slices
// it returns alias the input.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) uvarint() uint64 {
	if c.err != nil {
		return 0
	}
	// Nearly every number is a length that fits two bytes.
	if len(c.rest) >= 2 && c.rest[1] < 0x80 {
		if low := c.rest[0]; low >= 0x80 {
			v := uint64(low&0x7f) | uint64(c.rest[1])<<7
			c.rest = c.rest[2:]
			return v
		}
	}
	v, n := binary.Uvarint(c.rest)
	if n <= 0 {
		c.err = errShort
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

// count reads the number of items that follow, each of at least one byte.
func (c *cursor) count() int {
	n := c.uvarint()
	if c.err == nil && n > uint64(len(c.rest)) {
		c.err = errShort
	}
	if c.err != nil {
		return 0
	}
	return int(n)
}

func (c *cursor) take(n int) []byte {
	if c.err == nil && n > len(c.rest) {
		c.err = errShort
	}
	if c.err != nil {
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

// bytes reads a length and as many bytes.
func (c *cursor) bytes() []byte { return c.take(c.count()) }

// end reports the first error, or that bytes are left over.
func (c *cursor) end() error {
	if c.err == nil && len(c.rest) != 0 {
		return errors.New("bytes are left over")
	}
	return c.err
}

func appendBytes(b, item []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(item)))
	return append(b, item...)
}

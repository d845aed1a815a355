package bench

import (
	"bytes"
	"errors"
	"math"
	"time"
)

// MinSize is the size of the smallest payload.
const MinSize = 46

// payload identifies a message, as a JSON string of hexadecimal numbers, padded to the
// requested size:
//
//	"rrrrrrrr.pppp.ssssssssssss.tttttttttttttttt.xxxx…"
//	 run      pub. sequence     sent (ns)
type payload struct {
	run       uint32
	publisher uint16
	sequence  uint64        // from 1, per publisher; 48 bits
	sent      time.Duration // since the run began, on the monotonic clock
}

// paddingAt is where the filling begins.
const paddingAt = 45

// encode returns the payload in size bytes, which must be at least MinSize.
func (p payload) encode(size int) []byte { return p.appendTo(make([]byte, 0, size), size) }

func (p payload) appendTo(dst []byte, size int) []byte {
	end := len(dst) + size - 1
	dst = appendHex(append(dst, '"'), uint64(p.run), 8)
	dst = appendHex(append(dst, '.'), uint64(p.publisher), 4)
	dst = appendHex(append(dst, '.'), p.sequence, 12)
	dst = appendHex(append(dst, '.'), uint64(p.sent), 16)
	dst = append(dst, '.')
	for len(dst) < end {
		dst = append(dst, padding[:min(end-len(dst), len(padding))]...)
	}
	return append(dst, '"')
}

// appendHex appends the last digits of value.
func appendHex(dst []byte, value uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[value>>shift&0xf])
	}
	return dst
}

var errPayload = errors.New("not a payload of this program")

// padding is what payloads end with, up to the usual sizes.
var padding = bytes.Repeat([]byte{'x'}, 1024)

func decodePayload(b []byte) (payload, error) {
	if len(b) < MinSize || b[0] != '"' || b[9] != '.' || b[14] != '.' || b[27] != '.' || b[44] != '.' ||
		b[len(b)-1] != '"' {
		return payload{}, errPayload
	}
	for rest := b[paddingAt : len(b)-1]; len(rest) > 0; {
		n := min(len(rest), len(padding))
		if !bytes.Equal(rest[:n], padding[:n]) {
			return payload{}, errPayload
		}
		rest = rest[n:]
	}
	run, ok1 := parseHex(b[1:9])
	publisher, ok2 := parseHex(b[10:14])
	sequence, ok3 := parseHex(b[15:27])
	sent, ok4 := parseHex(b[28:44])
	if !ok1 || !ok2 || !ok3 || !ok4 || sent > math.MaxInt64 {
		return payload{}, errPayload
	}
	return payload{
		run:       uint32(run),
		publisher: uint16(publisher),
		sequence:  sequence,
		sent:      time.Duration(sent),
	}, nil
}

// hexValues has the value of each hexadecimal digit; 0xff is none.
var hexValues = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		values[c] = byte(i)
	}
	return values
}()

// parseHex reads up to 16 digits.
func parseHex(digits []byte) (value uint64, ok bool) {
	var seen byte
	for _, c := range digits {
		v := hexValues[c]
		seen |= v
		value = value<<4 | uint64(v&0xf)
	}
	return value, seen < 0x10
}

package bench

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// MinSize is the smallest payload that holds what a message says of itself.
const MinSize = 46

// payload is what each message says of itself, as a JSON string of numbers in
// hexadecimal, filled up to the size that was asked for:
//
//	"rrrrrrrr.pppp.ssssssssssss.tttttttttttttttt.xxxx…"
//	 run      pub. sequence     sent (ns)
type payload struct {
	run       uint32
	publisher uint16
	sequence  uint64        // from 1, per publisher; 48 bits
	sent      time.Duration // since the run began, on the monotonic clock
}

const (
	payloadFormat = `"%08x.%04x.%012x.%016x.`
	paddingAt     = 45
)

// encode returns the payload in size bytes, which must be at least MinSize.
func (p payload) encode(size int) []byte {
	b := fmt.Appendf(make([]byte, 0, size), payloadFormat, p.run, p.publisher, p.sequence, uint64(p.sent))
	for len(b) < size-1 {
		b = append(b, 'x')
	}
	return append(b, '"')
}

var errPayload = errors.New("not a payload of this program")

func decodePayload(b []byte) (payload, error) {
	if len(b) < MinSize || b[0] != '"' || b[9] != '.' || b[14] != '.' || b[27] != '.' || b[44] != '.' || b[len(b)-1] != '"' {
		return payload{}, errPayload
	}
	for _, c := range b[paddingAt : len(b)-1] {
		if c != 'x' {
			return payload{}, errPayload
		}
	}
	run, err1 := strconv.ParseUint(string(b[1:9]), 16, 32)
	publisher, err2 := strconv.ParseUint(string(b[10:14]), 16, 16)
	sequence, err3 := strconv.ParseUint(string(b[15:27]), 16, 48)
	sent, err4 := strconv.ParseUint(string(b[28:44]), 16, 63)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return payload{}, errPayload
	}
	return payload{
		run:       uint32(run),
		publisher: uint16(publisher),
		sequence:  sequence,
		sent:      time.Duration(sent),
	}, nil
}

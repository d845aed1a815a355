package client

import (
	"strconv"
	"time"
)

// Position says where in a channel a subscription starts. The zero Position
// leaves it to the channel's rule.
type Position struct {
	kind  positionKind
	value uint64
}

type positionKind int

const (
	byRule positionKind = iota
	fromLive
	fromAll
	fromLast
	fromTime
	fromOffset
)

// After starts with the first message whose offset is above offset. After(0) is a
// position only together with an epoch; without one it is All.
func After(offset uint64) Position { return Position{fromOffset, offset} }

// Live starts with the next message that is published.
func Live() Position { return Position{kind: fromLive} }

// All starts with the oldest message that is retained.
func All() Position { return Position{kind: fromAll} }

// Last starts with the newest n retained messages.
func Last(n int) Position { return Position{fromLast, uint64(max(n, 0))} }

// Since starts with the first retained message stamped at t or later.
func Since(t time.Time) Position { return Position{fromTime, uint64(max(t.UnixMilli(), 0))} }

// appendFields adds the position's fields to a subscribe frame. The epoch may be empty.
func (p Position) appendFields(b []byte, epoch string) []byte {
	if p == After(0) && epoch == "" {
		p = All() // on the wire an offset of 0 without an epoch means that none is known
	}
	switch p.kind {
	case fromLive:
		b = append(b, `,"from":"live"`...)
	case fromAll:
		b = append(b, `,"from":"all"`...)
	case fromLast:
		b = append(b, `,"from":{"last":`...)
		b = append(strconv.AppendUint(b, p.value, 10), '}')
	case fromTime:
		b = append(b, `,"from":{"time":`...)
		b = append(strconv.AppendUint(b, p.value, 10), '}')
	case fromOffset:
		b = append(b, `,"fromOffset":`...)
		b = strconv.AppendUint(b, p.value, 10)
	}
	if epoch != "" {
		b = append(b, `,"epoch":`...)
		b = append(b, quote(epoch)...)
	}
	return b
}

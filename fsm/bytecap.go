package fsm

import (
	"encoding/binary"
	"slices"
	"sort"
)

// Checkpoints are at least checkpointStep bytes apart, and at most about one part in
// checkpointPrecision of the bytes published since. So any cap has a checkpoint close to it,
// and there are never more than some 800 of them.
const (
	checkpointStep      = 64 << 10
	checkpointPrecision = 16
)

// byteCap counts the payload bytes published in the whole cluster, so that retention can be
// capped by arithmetic: the newest bytes are those stamped after some checkpoint.
type byteCap struct {
	total       int64        // payload bytes ever published
	floor       checkpoint   // messages up to this stamp have expired for good
	checkpoints []checkpoint // after floor, oldest first
}

// checkpoint says that the messages up to a stamp have total payload bytes.
type checkpoint struct {
	stamp int64 // Unix ms
	total int64
}

// advance closes the interval that ends at stamp last. It raises the floor if more than
// limit bytes are retained; a limit of 0 is none.
func (v *byteCap) advance(last, limit int64) {
	v.mark(last)
	if limit == 0 || v.total-v.floor.total <= limit {
		return
	}
	n := sort.Search(len(v.checkpoints), func(i int) bool { return v.total-v.checkpoints[i].total <= limit })
	if n == len(v.checkpoints) {
		v.floor, v.checkpoints = checkpoint{last, v.total}, nil
		return
	}
	v.floor = v.checkpoints[n]
	v.checkpoints = slices.Delete(v.checkpoints, 0, n+1)
}

// mark adds a checkpoint if the newest is far enough behind, and removes those that have
// come too close to each other.
func (v *byteCap) mark(last int64) {
	newest := v.floor
	if n := len(v.checkpoints); n > 0 {
		newest = v.checkpoints[n-1]
	}
	if v.total-newest.total < checkpointStep {
		return
	}
	all := append(v.checkpoints, checkpoint{last, v.total})
	kept := all[:1]
	for i := 1; i < len(all); i++ {
		if i+1 < len(all) {
			next := all[i+1].total
			if next-kept[len(kept)-1].total <= (v.total-next)/checkpointPrecision {
				continue
			}
		}
		kept = append(kept, all[i])
	}
	v.checkpoints = kept
}

// append appends the stored form:
//
//	varint total | floor | uvarint count | count × checkpoint
//
// where a checkpoint is two varints, stamp and total, minus those of the one before.
func (v *byteCap) append(dst []byte) []byte {
	dst = binary.AppendVarint(dst, v.total)
	var last checkpoint
	add := func(c checkpoint) {
		dst = binary.AppendVarint(dst, c.stamp-last.stamp)
		dst = binary.AppendVarint(dst, c.total-last.total)
		last = c
	}
	add(v.floor)
	dst = binary.AppendUvarint(dst, uint64(len(v.checkpoints)))
	for _, c := range v.checkpoints {
		add(c)
	}
	return dst
}

func (d *decoder) byteCap() (v byteCap) {
	v.total = d.Varint()
	var last checkpoint
	next := func() checkpoint {
		last.stamp += d.Varint()
		last.total += d.Varint()
		return last
	}
	v.floor = next()
	for n := d.Count(); n > 0 && d.Err == nil; n-- {
		v.checkpoints = append(v.checkpoints, next())
	}
	return v
}

package cluster

import (
	"encoding/binary"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// outcome is the leader's answer to one batch.
//
//	+-------------+------------+---------+- - - - - - - - - - - - +
//	| index, uvar | next, uvar | n, uvar | n results, length first |
//	+-------------+------------+---------+- - - - - - - - - - - - +
type outcome struct {
	index   uint64   // of the entry that carried the batch
	next    uint64   // the number the state expects; meaningful without results
	results [][]byte // one per command; none when the batch was out of turn
}

func encodeOutcome(o outcome) []byte {
	size := 3 * binary.MaxVarintLen64
	for _, result := range o.results {
		size += binary.MaxVarintLen32 + len(result)
	}
	out := make([]byte, 0, size)
	out = binary.AppendUvarint(out, o.index)
	out = binary.AppendUvarint(out, o.next)
	out = binary.AppendUvarint(out, uint64(len(o.results)))
	for _, result := range o.results {
		out = wire.AppendBytes(out, result)
	}
	return out
}

func decodeOutcome(raw []byte) (outcome, error) {
	r := wire.Reader{Rest: raw}
	o := outcome{index: r.Uvarint(), next: r.Uvarint()}
	if n := r.Count(); n > 0 {
		o.results = make([][]byte, n)
		for i := range o.results {
			o.results[i] = r.Bytes()
		}
	}
	return o, r.Finish()
}

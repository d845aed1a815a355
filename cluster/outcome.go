package cluster

import (
	"encoding/binary"
	"errors"

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

// definite reports whether an answer says that the batch had no effect and will
// have none.
func definite(err error) bool {
	return errors.Is(err, ErrNotLeader) || errors.Is(err, ErrOverloaded) ||
		errors.Is(err, ErrInvalidCommand) || errors.Is(err, ErrFeatureLevel)
}

// reject settles those commands of a batch that no leader will take. The others are sent
// again under the same number. f.mu is held.
func (f *forwarder) reject(p *inflightBatch, err error) (finished []completion) {
	why := err
	if p.open > 0 {
		why = ErrOutcomeUnknown // a leader that took it may have been of another version
	}
	refuse := func(all bool) {
		for _, s := range p.submissions {
			if s.done != nil && (all || errors.Is(f.check(s.command), ErrInvalidCommand)) {
				finished = f.finish(finished, s, Result{Err: why})
			}
		}
	}
	if refuse(false); len(finished) == 0 {
		refuse(true) // the leader knows better
	}
	f.encode(p)
	f.startOver()
	return finished
}

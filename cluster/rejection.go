package cluster

import (
	"errors"
)

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

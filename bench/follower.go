package bench

// follower is a subscriber of a channel whose messages are numbered one by one.
type follower struct {
	last uint64 // highest number accounted for
}

// message takes the next message and judges its number.
func (f *follower) message(number uint64, v *Verdict) {
	if number <= f.last {
		v.Duplicated++
		return
	}
	v.Delivered++
	if number > f.last+1 {
		v.OutOfOrder++
		v.Lost += number - f.last - 1
	}
	f.last = number
}

// gap records an announcement that numbers from one to another are no longer retained. Only
// the next numbers may be announced.
func (f *follower) gap(from, to uint64, v *Verdict) {
	if from != f.last+1 || to < from {
		v.OutOfOrder++
	}
	if to > f.last {
		v.Expired += to - f.last
		f.last = to
	}
}

// end returns how far the channel went.
func (f *follower) end(head uint64, v *Verdict) {
	if head > f.last {
		v.Lost += head - f.last
	}
}

package bench

// follower is a subscriber that gets a channel's messages numbered one by one.
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

// gap takes an announcement that messages from one number to another are no
// longer retained. Any but the ones that follow is wrong.
func (f *follower) gap(from, to uint64, v *Verdict) {
	if from != f.last+1 || to < from {
		v.OutOfOrder++
	}
	if to > f.last {
		v.Expired += to - f.last
		f.last = to
	}
}

// end says how far the channel went.
func (f *follower) end(head uint64, v *Verdict) {
	if head > f.last {
		v.Lost += head - f.last
	}
}

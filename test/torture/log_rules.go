package torture

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// oneMessagePerOffset: whoever looks, and whenever, finds the same message at an
// offset, with the same stamp, live, replayed, in the end, or acknowledged.
func (l *ledger) oneMessagePerOffset() (broken []string) {
	first := make(map[place]*Event)
	stamped := make(map[place]*Event)
	for i := range l.history {
		e := &l.history[i]
		switch {
		case e.Kind != Deliver && e.Kind != Read && (e.Kind != Publish || e.Outcome != OK):
			continue
		case !kept(e.Channel):
			continue
		}
		p := place{e.Channel, e.Offset}
		if before := first[p]; before == nil {
			first[p] = e
		} else if before.Tag != e.Tag {
			broken = append(broken, fmt.Sprintf("%s is %s (%s) and %s (%s)", p, before.Tag, witness(before), e.Tag, witness(e)))
			continue
		}
		if e.Stamp == 0 {
			continue
		}
		if before := stamped[p]; before == nil {
			stamped[p] = e
		} else if before.Stamp != e.Stamp {
			broken = append(broken, fmt.Sprintf("%s is of %d (%s) and of %d (%s)", p, before.Stamp, witness(before), e.Stamp,
				witness(e)))
		}
	}
	return broken
}

// witness says how an event came to be known.
func witness(e *Event) string {
	switch {
	case e.Kind == Publish:
		return fmt.Sprintf("acknowledged by %s at %s", e.Node, seconds(e.At))
	case e.Kind == Read:
		return fmt.Sprintf("in the end on %s", e.Node)
	case e.Replay:
		return fmt.Sprintf("replayed by %s at %s", e.Node, seconds(e.At))
	}
	return fmt.Sprintf("delivered by %s at %s", e.Node, seconds(e.At))
}

// acknowledgedIsThere: in the end every node has what was acknowledged, where it
// was said to be.
func (l *ledger) acknowledgedIsThere() (broken []string) {
	for i := range l.history {
		e := &l.history[i]
		if e.Kind != Publish || e.Outcome != OK || !kept(e.Channel) {
			continue
		}
		p := place{e.Channel, e.Offset}
		for node, channels := range sorted(l.retained) {
			have := channels[e.Channel]
			if have == nil || e.Offset != 0 && e.Offset < have.Offset {
				continue // not retained; noHole tells when it should be
			}
			if found := l.finals[node][p]; found == nil || found.Tag != e.Tag {
				what := "nothing"
				if found != nil {
					what = found.Tag
				}
				broken = append(broken, fmt.Sprintf("%s was acknowledged as %s (%s), %s has %s there", e.Tag, p, witness(e), node,
					what))
			}
		}
	}
	return broken
}

// noHole: a node has every offset of a channel from its first to its head. The
// channels of the workload are far below what retention keeps.
func (l *ledger) noHole() (broken []string) {
	for node, channels := range sorted(l.retained) {
		for channel, have := range sorted(channels) {
			if have.Offset != 1 {
				broken = append(broken, fmt.Sprintf("%s of %s begins at %d", channel, node, have.Offset))
			}
			for offset := have.Offset; offset <= have.Head; offset++ {
				if l.finals[node][place{channel, offset}] == nil {
					broken = append(broken, fmt.Sprintf("%s of %s goes up to %d and lacks %d", channel, node, have.Head, offset))
				}
			}
		}
	}
	return broken
}

// repeatable is for how long a client may repeat a message under its id. The clocks of a
// majority may have gone from one end to the other meanwhile.
const repeatable = idWindow - 2*mostSkew

// noRepeat: a message is at one offset, however often it was sent under its id, if the
// last answer came as long as the id is remembered.
func (l *ledger) noRepeat() (broken []string) {
	for node, messages := range sorted(l.finals) {
		where := make(map[string]place)
		for _, e := range inOrder(messages) {
			p := place{e.Channel, e.Offset}
			if before, twice := where[e.Tag]; twice && l.tried(e.Tag) < repeatable {
				broken = append(broken, fmt.Sprintf("%s has %s (id %q, sent %d times) at %s and at %s",
					node, e.Tag, l.idOf(e.Tag), len(l.publishes[e.Tag]), before, p))
			}
			where[e.Tag] = p
		}
	}
	return broken
}

// tried returns for how long a message was published.
func (l *ledger) tried(tag string) time.Duration {
	var first, last int64
	for i, e := range l.publishes[tag] {
		if i == 0 || e.Began < first {
			first = e.Began
		}
		last = max(last, e.At)
	}
	return time.Duration(last - first)
}

func (l *ledger) idOf(tag string) string {
	for _, e := range l.publishes[tag] {
		return e.ID
	}
	return ""
}

func inOrder(messages map[place]*Event) []*Event {
	all := make([]*Event, 0, len(messages))
	for _, e := range messages {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *Event) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Offset, b.Offset))
	})
	return all
}

// nodesAgree: all nodes have the same channels, up to the same heads.
func (l *ledger) nodesAgree() (broken []string) {
	var one string
	for node, channels := range sorted(l.retained) {
		if one == "" {
			one = node
		}
		for channel, have := range sorted(l.retained[one]) {
			if other := channels[channel]; other == nil || other.Head != have.Head {
				head := uint64(0)
				if other != nil {
					head = other.Head
				}
				broken = append(broken, fmt.Sprintf("%s goes up to %d on %s and up to %d on %s", channel, have.Head, one, head,
					node))
			}
		}
	}
	return broken
}

// stampsRise: a later message of a channel is stamped no earlier.
func (l *ledger) stampsRise() (broken []string) {
	for node, messages := range sorted(l.finals) {
		var before *Event
		for _, e := range inOrder(messages) {
			if before != nil && before.Channel == e.Channel && before.Stamp > e.Stamp {
				broken = append(broken, fmt.Sprintf("on %s, %s@%d is of %d and %s@%d of %d",
					node, before.Channel, before.Offset, before.Stamp, e.Channel, e.Offset, e.Stamp))
			}
			before = e
		}
	}
	return broken
}

// publishOrder: what one connection sent to one channel is stored in that order.
// What was sent more than once may have been stored by another connection.
func (l *ledger) publishOrder() (broken []string) {
	sent := make(map[string]map[string][]*Event)
	for i := range l.history {
		e := &l.history[i]
		if e.Kind == Publish && e.Seq > 0 && e.Outcome == OK && !e.Duplicate && kept(e.Channel) {
			channels := inner(sent, e.Session)
			channels[e.Channel] = append(channels[e.Channel], e)
		}
	}
	for session, channels := range sorted(sent) {
		for _, events := range sorted(channels) {
			slices.SortFunc(events, func(a, b *Event) int { return cmp.Compare(a.Seq, b.Seq) })
			for i, e := range events[1:] {
				if before := events[i]; before.Offset >= e.Offset {
					broken = append(broken, fmt.Sprintf("%s sent %s before %s, which are at %d and %d of %s",
						session, before.Tag, e.Tag, before.Offset, e.Offset, e.Channel))
				}
			}
		}
	}
	return broken
}

// realTimeOrder: what was acknowledged before another message was first sent has
// the lower offset.
func (l *ledger) realTimeOrder() (broken []string) {
	byEnd := make(map[string][]*Event) // by channel
	for i := range l.history {
		e := &l.history[i]
		if e.Kind == Publish && e.Outcome == OK && kept(e.Channel) {
			byEnd[e.Channel] = append(byEnd[e.Channel], e) // a history is in the order of ends
		}
	}
	for channel, ended := range sorted(byEnd) {
		began := slices.Clone(ended)
		slices.SortStableFunc(began, func(a, b *Event) int { return cmp.Compare(l.firstSent(a), l.firstSent(b)) })
		var highest *Event
		next := 0
		for _, e := range began {
			for next < len(ended) && ended[next].At < l.firstSent(e) {
				if highest == nil || ended[next].Offset > highest.Offset {
					highest = ended[next]
				}
				next++
			}
			if highest != nil && highest.Offset >= e.Offset {
				broken = append(broken, fmt.Sprintf("%s was acknowledged at %d of %s at %s, %s was sent at %s and is at %d",
					highest.Tag, highest.Offset, channel, seconds(highest.At), e.Tag, seconds(l.firstSent(e)), e.Offset))
			}
		}
	}
	return broken
}

// firstSent is when the message of a publish was sent for the first time.
func (l *ledger) firstSent(e *Event) int64 {
	began := e.Began
	for _, attempt := range l.publishes[e.Tag] {
		began = min(began, attempt.Began)
	}
	return began
}

// nothingAfterRevocation: what was sent when a key's revocation was acknowledged is stored
// behind it, so nothing of the key is behind that, by offset or by stamp.
func (l *ledger) nothingAfterRevocation() (broken []string) {
	for node, messages := range sorted(l.finals) {
		ordered := inOrder(messages)
		for key, revoked := range sorted(l.revoked) {
			later := make(map[string]*Event) // the first one sent later, by channel
			var earliest *Event              // that by stamp
			for _, e := range ordered {
				attempts := l.publishes[e.Tag]
				if len(attempts) == 0 || l.firstSent(attempts[0]) <= revoked.At {
					continue
				}
				if later[e.Channel] == nil {
					later[e.Channel] = e
				}
				if earliest == nil || e.Stamp < earliest.Stamp {
					earliest = e
				}
			}
			for _, e := range ordered {
				if attempts := l.publishes[e.Tag]; len(attempts) == 0 || attempts[0].Key != key {
					continue
				}
				after := later[e.Channel]
				if after == nil || after.Offset > e.Offset {
					after = earliest
				}
				if after != nil && (after.Channel == e.Channel && after.Offset < e.Offset || after.Stamp < e.Stamp) {
					broken = append(broken, fmt.Sprintf("%s has %s of key %s at %s, of %d, "+
						"behind %s at %s, of %d, which was sent after the key was revoked at %s",
						node, e.Tag, key, place{e.Channel, e.Offset}, e.Stamp, after.Tag, place{
							after.Channel,
							after.Offset,
						}, after.Stamp, seconds(revoked.At)))
				}
			}
		}
	}
	return broken
}

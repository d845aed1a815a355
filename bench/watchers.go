package bench

import (
	"fmt"
	"slices"
)

// watchers keep what clients of a swarm are told of the members of a channel.
type watchers struct {
	views []view // by the client's number in the swarm
	want  view
	right int // views that are as wanted

	moves        uint64 // ids of members that entered or left, heard by all watchers
	listed       uint64 // ids of members in lists of all of them
	lists        uint64
	numbers      uint64 // numbers instead of members
	disconnected int
	problems     []string
}

// view is what one client knows.
type view struct {
	count   int
	members uint64 // the exclusive or of hashes of their ids; 0 where they are not named
	partial bool   // more parts of a list follow
}

// nothing is the view of a client that was told nothing.
var nothing = view{count: -1}

// newWatchers returns what the clients of a swarm know, which is nothing.
func newWatchers(s *swarm) *watchers {
	w := &watchers{views: slices.Repeat([]view{nothing}, len(s.members))}
	s.onLost = func(m *member, reason error) {
		w.disconnected++
		w.problem("%v", reason)
		if m.number < len(w.views) {
			w.set(m.number, nothing)
		}
	}
	return w
}

func (w *watchers) problem(format string, args ...any) {
	if len(w.problems) < maxProblems {
		w.problems = append(w.problems, fmt.Sprintf(format, args...))
	}
}

// hear takes in what a client was told.
func (w *watchers) hear(m *member, e Event) {
	if m.number >= len(w.views) {
		return
	}
	v := w.views[m.number]
	switch e.Kind {
	case Counted:
		v = view{count: e.Count}
		w.numbers++
	case Changed:
		w.change(&v, e.Change)
	default:
		return
	}
	w.set(m.number, v)
}

func (w *watchers) change(v *view, c *MemberChange) {
	ids := uint64(len(c.Entered) + len(c.Left))
	switch c.Part {
	case 0:
		w.moves += ids
	case 1:
		*v = view{}
		w.lists++
		fallthrough
	default:
		w.listed += ids
	}
	for _, id := range c.Entered {
		v.members ^= hash(id)
	}
	for _, id := range c.Left {
		v.members ^= hash(id)
	}
	v.count, v.partial = c.Count, c.More
}

// hash spreads an id over 64 bits (the finaliser of SplitMix64).
func hash(id uint64) uint64 {
	id += 0x9e3779b97f4a7c15
	id = (id ^ id>>30) * 0xbf58476d1ce4e5b9
	id = (id ^ id>>27) * 0x94d049bb133111eb
	return id ^ id>>31
}

func (w *watchers) set(number int, v view) {
	if w.views[number] == w.want {
		w.right--
	}
	if w.views[number] = v; v == w.want {
		w.right++
	}
}

// expect sets what all clients are to know.
func (w *watchers) expect(want view) {
	w.want, w.right = want, 0
	for _, v := range w.views {
		if v == want {
			w.right++
		}
	}
}

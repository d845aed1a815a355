package torture

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// behind bounds how old what a node shows may be while something is wrong: it closes its
	// clients after 9 s.
	behind = int64(12 * time.Second)
	// silentFor is how old the last sign of life of a connection is at most that counts as alive.
	silentFor = int64(3 * time.Second)
)

// stay is one connection of a user.
type stay struct {
	entered int64  // when that was acknowledged; 0: it was not
	ended   int64  // when the node may have ended it; 0: it has not
	goneAt  int64  // when the client knew
	how     string // "lost", "broken" or "closed"
	node    string
	here    int64 // last sign of life in the end
	unknown bool  // nobody knows whether it entered
	// replaces is the one whose place it took: the member is held by both, as long as this lasts.
	replaces *stay
}

// attendance is what a user of a room did.
type attendance struct {
	stays []*stay
	now   map[string]*stay // the last one of each session
	said  []int64          // when it began to say good-bye with some connection
	data  []*Event         // Enter, Update
	last  int64            // when it did something last
	loose bool             // it is not known when it has connections
}

// span is a time in which a user is a member for sure: from is included, to is not.
type span struct{ from, to int64 }

// spans returns when the user was a member whatever failed, in order.
func (a *attendance) spans() (spans []span) {
	ended := make(map[*stay]int64)
	for _, s := range a.stays {
		if old := s.replaces; old != nil && s.ended > 0 && (ended[old] == 0 || s.ended < ended[old]) {
			ended[old] = s.ended
		}
	}
	for _, s := range a.stays {
		if s.entered == 0 {
			continue
		}
		to := s.ended
		switch {
		case ended[s] > 0 && (to == 0 || ended[s] < to):
			to = ended[s]
		case to == 0 && s.here > 0:
			to = math.MaxInt64
		case s.how == "broken" || s.how == "lost":
			// A good-bye on another connection may end the grace of one whose node died.
			for to = s.ended + int64(memberGrace); ; {
				i := slices.IndexFunc(a.said, func(at int64) bool { return at >= s.ended && at < to })
				if i < 0 {
					break
				}
				to = a.said[i]
			}
		}
		if to > s.entered {
			spans = append(spans, span{s.entered, to})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	return spans
}

// mayBeAway reports whether the user may have been no member at some time from one to another.
func (a *attendance) mayBeAway(from, to int64) bool {
	if a.loose {
		return true
	}
	at := from
	for _, s := range a.spans() {
		if s.from > at {
			return true
		}
		if at = max(at, s.to); at > to {
			return false
		}
	}
	return true
}

// attendances returns what users did, by room and id.
func (l *ledger) attendances() map[string]map[string]*attendance {
	all := make(map[string]map[string]*attendance)
	for i := range l.history {
		e := &l.history[i]
		switch e.Kind {
		case Enter, Update, Quit, Gone, Here:
		default:
			continue
		}
		users := inner(all, e.Channel)
		a := users[e.ID]
		if a == nil {
			a = &attendance{now: make(map[string]*stay)}
			users[e.ID] = a
		}
		s := a.now[e.Session]
		if s == nil || e.Kind == Enter && s.entered > 0 {
			if s != nil {
				s.ended, s.how = e.At, "closed" // it is taken as another one from now on
			}
			s = &stay{node: e.Node, replaces: a.now[e.Note]}
			a.now[e.Session] = s
			a.stays = append(a.stays, s)
		}
		if e.Kind != Here {
			a.last = max(a.last, e.At)
		}
		a.loose = a.loose || e.Note == byClient
		end := func(how string) {
			if s.ended == 0 || e.Began < s.ended {
				s.ended, s.how = e.Began, how
			}
		}
		switch e.Kind {
		case Enter, Update:
			a.data = append(a.data, e)
			if e.Kind == Enter && e.Outcome == OK {
				s.entered = e.At
			}
			s.unknown = s.unknown || e.Kind == Enter && e.Outcome == Unknown
		case Quit:
			end("closed")
			a.said = append(a.said, e.Began)
		case Gone:
			s.goneAt = e.At
			end(e.Code)
			if e.Code == "closed" {
				a.said = append(a.said, e.Began)
			}
		case Here:
			s.here = e.Began
		}
	}
	return all
}

// shownSince returns the earliest time as of which a node may have shown a member: not before
// the member has said its data.
func (a *attendance) shownSince(shown *Event) int64 {
	said := int64(math.MaxInt64)
	for _, e := range a.data {
		if e.Tag == shown.Tag {
			said = min(said, e.Began)
		}
	}
	if said == math.MaxInt64 {
		said = 0
	}
	return max(shown.At-behind, said)
}

// replaced reports whether data was old for sure before the user began to say something newer.
func (a *attendance) replaced(old, newer string) bool {
	began := int64(math.MaxInt64)
	for _, e := range a.data {
		if e.Tag == newer {
			began = min(began, e.Began)
		}
	}
	for _, e := range a.data {
		if e.Tag == old && (e.Outcome == Unknown || e.At >= began) {
			return false
		}
	}
	return began != math.MaxInt64
}

// diedWith reports whether all connections that the user had in a time were lost since their
// node was killed.
func (a *attendance) diedWith(killed map[string][]int64, from, to int64) bool {
	some := false
	for _, s := range a.stays {
		if s.unknown {
			return false
		}
		if s.entered == 0 || s.entered > to || s.ended > 0 && s.ended < from {
			continue
		}
		at := func(k int64) bool {
			return s.how == "lost" && s.ended > k-int64(time.Second) && s.goneAt > k && s.goneAt < k+int64(time.Second)
		}
		if !slices.ContainsFunc(killed[s.node], at) {
			return false
		}
		some = true
	}
	return some
}

// inTheEnd returns on how many connections the user is, if that is certain.
func (a *attendance) inTheEnd(still, now int64) (connections int, sure bool) {
	if a.last > still {
		return 0, false
	}
	if a.loose {
		last := a.data[len(a.data)-1]
		return 1, last.Kind == Enter && last.Outcome == OK
	}
	for _, s := range a.stays {
		switch {
		case s.ended > 0:
		case s.here == 0 || s.unknown || s.here < now-silentFor:
			return 0, false
		case s.entered > 0:
			connections++
		}
	}
	return connections, true
}

// mayHave reports whether the user may have this data in the end.
func (a *attendance) mayHave(tag string) bool {
	for _, e := range a.data {
		if e.Tag != tag {
			continue
		}
		later := func(other *Event) bool { return other.Outcome == OK && other.Tag != tag && other.Began > e.At }
		if e.Outcome == Unknown || e.Outcome == OK && !slices.ContainsFunc(a.data, later) {
			return true
		}
	}
	return false
}

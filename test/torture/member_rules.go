package torture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// watchers calls each with every event that a watcher was told, and what it was shown before.
// For the members of a sync that is what the sync has listed before.
func (l *ledger) watchers(each func(e *Event, shown map[string]*Event)) {
	type key struct{ session, channel string }
	all, syncs := make(map[key]map[string]*Event), make(map[key]map[string]*Event)
	for i := range l.history {
		e := &l.history[i]
		k := key{e.Session, e.Channel}
		switch e.Kind {
		case Listed:
			if syncs[k] == nil {
				syncs[k] = make(map[string]*Event)
			}
			each(e, syncs[k])
			syncs[k][e.ID] = e
		case Synced:
			if all[k] = syncs[k]; all[k] == nil {
				all[k] = make(map[string]*Event)
			}
			delete(syncs, k)
			each(e, all[k])
		case Entered, Updated:
			each(e, all[k])
			if all[k] != nil {
				all[k][e.ID] = e
			}
		case Left:
			each(e, all[k])
			delete(all[k], e.ID)
		case Counted:
			each(e, all[k])
		}
	}
}

// membersAreShownOnce: nobody is twice in a list, or enters who is there, and the count is of
// those that are shown.
func (l *ledger) membersAreShownOnce() (broken []string) {
	l.watchers(func(e *Event, shown map[string]*Event) {
		switch _, is := shown[e.ID]; {
		case e.Kind == Listed && is:
			broken = append(broken, fmt.Sprintf("%s lists %s twice in %s to %s, at %s", e.Node, e.ID, e.Channel, e.Session,
				seconds(e.At)))
		case e.Kind == Entered && is:
			broken = append(broken, fmt.Sprintf("%s says to %s that %s entered %s, which is there, at %s", e.Node, e.Session,
				e.ID, e.Channel, seconds(e.At)))
		case (e.Kind == Synced || e.Kind == Counted) && int(e.Head) != len(shown):
			broken = append(broken, fmt.Sprintf("%s counts %d in %s for %s, which is shown %d, at %s", e.Node, e.Head,
				e.Channel, e.Session, len(shown), seconds(e.At)))
		}
	})
	listed := make(map[string]bool)
	for i := range l.history {
		e := &l.history[i]
		if key := e.Node + " " + e.Channel + " " + e.ID; e.Kind == View {
			if listed[key] {
				broken = append(broken, fmt.Sprintf("%s lists %s twice in %s", e.Node, e.ID, e.Channel))
			}
			listed[key] = true
		}
	}
	return broken
}

// nobodyLeavesWhoHasNot: who is said to have left was shown, and may have been away. Somebody
// whose connection broke and who is back within the grace was not.
func (l *ledger) nobodyLeavesWhoHasNot() (broken []string) {
	users := l.attendances()
	l.watchers(func(e *Event, shown map[string]*Event) {
		if e.Kind != Left {
			return
		}
		was, a := shown[e.ID], users[e.Channel][e.ID]
		switch {
		case was == nil:
			broken = append(broken, fmt.Sprintf("%s says to %s that %s left %s, which was not there, at %s", e.Node, e.Session,
				e.ID, e.Channel, seconds(e.At)))
		case a != nil && !a.mayBeAway(a.shownSince(was), e.At):
			broken = append(broken, fmt.Sprintf("%s says to %s at %s that %s left %s (%s), which it has not since %s", e.Node,
				e.Session, seconds(e.At), e.ID, e.Channel, e.Code, seconds(a.shownSince(was))))
		}
	})
	return broken
}

// updatesAreOne: an update changes the data of a member that is shown, and never to what was
// replaced before.
func (l *ledger) updatesAreOne() (broken []string) {
	users := l.attendances()
	l.watchers(func(e *Event, shown map[string]*Event) {
		if e.Kind != Updated {
			return
		}
		was, a := shown[e.ID], users[e.Channel][e.ID]
		what := ""
		switch {
		case was == nil:
			what = "is not there"
		case was.Tag == e.Tag:
			what = "has that already"
		case a != nil && a.replaced(e.Tag, was.Tag):
			what = "had that before " + was.Tag
		default:
			return
		}
		broken = append(
			broken,
			fmt.Sprintf("%s says to %s at %s that %s in %s was updated to %s, which %s", e.Node, e.Session,
				seconds(e.At), e.ID, e.Channel, e.Tag, what),
		)
	})
	return broken
}

// reasonsAreTrue: nobody is said to have said good-bye who has not, and whose node was killed
// leaves because of it.
func (l *ledger) reasonsAreTrue() (broken []string) {
	users := l.attendances()
	killed := make(map[string][]int64)
	for i := range l.history {
		if e := &l.history[i]; e.Kind == Killed {
			killed[e.Node] = append(killed[e.Node], e.At)
		}
	}
	l.watchers(func(e *Event, shown map[string]*Event) {
		was, a := shown[e.ID], users[e.Channel][e.ID]
		if e.Kind != Left || was == nil || a == nil || a.loose {
			return
		}
		since := was.At - behind
		said := slices.ContainsFunc(a.said, func(at int64) bool { return at >= since && at <= e.At })
		switch {
		case e.Code == "left" && !said:
			broken = append(broken, fmt.Sprintf("%s says to %s at %s that %s left %s by itself, which it has not since %s",
				e.Node, e.Session, seconds(e.At), e.ID, e.Channel, seconds(since)))
		case e.Code != "node" && !said && a.diedWith(killed, since, e.At):
			broken = append(broken, fmt.Sprintf("%s says to %s at %s that %s left %s (%s), whose node was killed", e.Node,
				e.Session, seconds(e.At), e.ID, e.Channel, e.Code))
		}
	})
	return broken
}

// everyNodeShowsTheMembers: in the end every node lists those who are connected, and its
// watchers were shown the same.
func (l *ledger) everyNodeShowsTheMembers() (broken []string) {
	for i, e := range slices.Backward(l.history) {
		if e.Kind == Viewed {
			l = &ledger{history: l.history[:i+1]} // then all members leave
			break
		}
	}
	still := int64(-1)
	lists := make(map[string]map[string]map[string]*Event) // by node, room and id
	var viewed []*Event
	for i := range l.history {
		switch e := &l.history[i]; e.Kind {
		case Still:
			still = e.At
		case View:
			room := lists[e.Node]
			if room == nil {
				room = make(map[string]map[string]*Event)
				lists[e.Node] = room
			}
			inner(room, e.Channel)[e.ID] = e
		case Viewed:
			viewed = append(viewed, e)
		}
	}
	if still < 0 {
		return nil
	}
	users, watched := l.attendances(), l.lastWatched()
	same := make(map[string]string) // data by room and id
	for _, v := range viewed {
		if v.Code != "" {
			broken = append(broken, fmt.Sprintf("%s does not list %s: %s", v.Node, v.Channel, v.Code))
			continue
		}
		list := lists[v.Node][v.Channel]
		for id, a := range sorted(users[v.Channel]) {
			connections, sure := a.inTheEnd(still, v.Began)
			m := list[id]
			switch {
			case !sure:
			case m == nil && connections > 0:
				broken = append(broken, fmt.Sprintf("%s does not list %s in %s, which is there", v.Node, id, v.Channel))
			case m != nil && int(m.Head) != connections:
				broken = append(broken, fmt.Sprintf("%s lists %s in %s with %d connections of %d", v.Node, id, v.Channel, m.Head,
					connections))
			}
		}
		for id, m := range sorted(list) {
			a := users[v.Channel][id]
			data, told := same[v.Channel+" "+id]
			same[v.Channel+" "+id] = m.Tag
			switch {
			case a == nil:
				broken = append(broken, fmt.Sprintf("%s lists %s in %s, which nobody is", v.Node, id, v.Channel))
			case told && data != m.Tag || !a.mayHave(m.Tag):
				broken = append(broken, fmt.Sprintf("%s lists %s in %s with %s, others with %s", v.Node, id, v.Channel, m.Tag,
					cmp.Or(data, "what came later")))
			}
		}
		shown, is := watched[v.Node+" "+v.Channel]
		if !is {
			broken = append(broken, fmt.Sprintf("%s tells nobody the members of %s", v.Node, v.Channel))
			continue
		}
		if tagsOf(shown) != tagsOf(list) {
			broken = append(broken, fmt.Sprintf("%s lists in %s %s and has told its watcher %s", v.Node, v.Channel, tagsOf(list),
				tagsOf(shown)))
		}
	}
	return broken
}

// lastWatched returns what the last watcher of each node was shown, by node and room.
func (l *ledger) lastWatched() map[string]map[string]*Event {
	last := make(map[string]map[string]*Event)
	ended := make(map[string]bool)
	for i := range l.history {
		if e := &l.history[i]; e.Kind == Unwatched {
			ended[e.Session] = true
		}
	}
	l.watchers(func(e *Event, shown map[string]*Event) {
		if e.Kind != Listed && !ended[e.Session] {
			last[e.Node+" "+e.Channel] = shown
		}
	})
	return last
}

// tagsOf puts members and their data into words.
func tagsOf(members map[string]*Event) string {
	var texts []string
	for _, id := range slices.Sorted(maps.Keys(members)) {
		texts = append(texts, members[id].Tag)
	}
	return "[" + strings.Join(texts, " ") + "]"
}

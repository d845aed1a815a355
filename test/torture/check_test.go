package torture

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// second is one in a history.
const second = int64(1e9)

// soundHistory is a short history of two nodes in which nothing is wrong.
func soundHistory() []Event {
	history := []Event{
		{At: 1 * second, Began: 1*second - 10, Kind: Created, Key: "key"},
		{At: 2 * second, Began: 2*second - 10, Kind: Opened, Session: "user", Node: "n1", Key: "key", Outcome: OK},
		{At: 3 * second, Kind: Subscribe, Session: "sub", Node: "n2", Channel: "t:0"},
		{
			At: 4 * second, Began: 4*second - 10, Kind: Publish, Session: "pub", Seq: 1, Node: "n1", Channel: "t:0", Tag: "a",
			Outcome: OK, Offset: 1, Stamp: 100,
		},
		{At: 5 * second, Kind: Deliver, Session: "sub", Node: "n2", Channel: "t:0", Tag: "a", Offset: 1, Stamp: 100},
		{
			At: 6 * second, Began: 6*second - 10, Kind: Publish, Session: "pub", Seq: 2, Node: "n1", Channel: "t:0", Tag: "b",
			ID: "b", Outcome: Unknown,
		},
		{
			At: 7 * second, Began: 7*second - 10, Kind: Publish, Session: "post", Node: "n2", Channel: "t:0", Tag: "b", ID: "b",
			Outcome: OK, Offset: 2, Stamp: 200, Duplicate: true,
		},
		{At: 8 * second, Kind: Deliver, Session: "sub", Node: "n2", Channel: "t:0", Tag: "b", Offset: 2, Stamp: 200},
		{
			At: 9 * second, Began: 9*second - 10, Kind: Publish, Session: "pub", Seq: 3, Node: "n1", Channel: "t:0", Tag: "c",
			Outcome: OK, Offset: 3, Stamp: 300,
		},
		{
			At: 10 * second, Began: 10*second - 10, Kind: Publish, Session: "pub", Seq: 4, Node: "n1", Channel: "t:0", Tag: "d",
			Outcome: Failed, Code: "unavailable",
		},
		{At: 11 * second, Began: 11*second - 10, Kind: Revoked, Key: "key"},
		{
			At: 22 * second, Began: 22*second - 10, Kind: Opened, Session: "late", Node: "n2", Key: "key", Outcome: Failed,
			Code: "invalid_key",
		},
		{At: 23 * second, Kind: Healed, Note: "n1 n2"},
		{At: 24 * second, Kind: Live, Node: "n1"},
		{At: 25 * second, Kind: Live, Node: "n2"},
		{At: 26 * second, Kind: Deliver, Session: "sub", Node: "n2", Channel: "t:0", Tag: "c", Offset: 3, Stamp: 300},
		{At: 27 * second, Kind: CaughtUp, Session: "sub", Channel: "t:0", Head: 3},
	}
	for _, node := range []string{"n1", "n2"} {
		for i, tag := range []string{"a", "b", "c"} {
			history = append(history, Event{
				At: 30 * second, Kind: Read, Node: node, Channel: "t:0", Tag: tag,
				Offset: uint64(i + 1), Stamp: int64(100 * (i + 1)),
			})
		}
		history = append(history, Event{At: 30 * second, Kind: Retained, Node: node, Channel: "t:0", Offset: 1, Head: 3})
	}
	return append(history, soundMembers()...)
}

// soundMembers is a short history of three users and of the watchers of two nodes. anna stays,
// bert's node is killed, and carl leaves.
func soundMembers() (history []Event) {
	const room = "p:0"
	add := func(at int64, e Event) {
		e.At, e.Channel = at, room
		history = append(history, e)
	}
	told := func(at int64, session string, e Event) {
		for _, node := range []string{"n1", "n2"} {
			e.Session, e.Node = session+node, node
			add(at, e)
		}
	}
	told(1*second, "early-", Event{Kind: Synced})
	for i, id := range []string{"anna", "bert", "carl"} {
		add(2*second, Event{
			Kind: Enter, Began: 2*second - 10, Session: id + "-1", Node: []string{"n1", "n3", "n2"}[i], ID: id, Tag: id + ".0",
			Outcome: OK,
		})
		told(3*second, "early-", Event{Kind: Entered, ID: id, Tag: id + ".0"})
	}
	add(4*second, Event{
		Kind: Update, Began: 4*second - 10, Session: "anna-1", Node: "n1", ID: "anna", Tag: "anna.1", Outcome: OK,
	})
	told(5*second, "early-", Event{Kind: Updated, ID: "anna", Tag: "anna.1"})
	told(5*second, "early-", Event{Kind: Counted, Head: 3})
	add(15*second, Event{Kind: Killed, Node: "n3"})
	add(15*second+10, Event{
		Kind: Gone, Began: 15*second - second/4, Session: "bert-1", Node: "n3", ID: "bert", Code: "lost",
	})
	add(20*second, Event{
		Kind: Quit, Began: 20*second - 10, Session: "carl-1", Node: "n2", ID: "carl", Outcome: OK,
	})
	told(21*second, "early-", Event{Kind: Left, ID: "carl", Code: "left"})
	told(29*second, "early-", Event{Kind: Left, ID: "bert", Code: "node"})
	told(30*second, "early-", Event{Kind: Unwatched})
	told(31*second, "late-", Event{Kind: Listed, ID: "anna", Tag: "anna.1"})
	told(31*second, "late-", Event{Kind: Synced, Head: 1})
	add(40*second, Event{Kind: Still})
	add(45*second, Event{Kind: Here, Began: 45 * second, Session: "anna-1", Node: "n1", ID: "anna"})
	for _, node := range []string{"n1", "n2"} {
		add(45*second, Event{Kind: View, Node: node, ID: "anna", Tag: "anna.1", Head: 1})
		add(45*second, Event{Kind: Viewed, Began: 45 * second, Node: node, Head: 1})
	}
	return history
}

// toldLate appends what the later watcher of a node is told before the members come to rest.
func toldLate(h []Event, e Event) []Event {
	e.At, e.Session, e.Node, e.Channel = 39*second, "late-n1", "n1", "p:0"
	return slices.Insert(h, slices.IndexFunc(h, func(e Event) bool { return e.Kind == Still }), e)
}

func TestSoundHistory(t *testing.T) {
	if found := Check(soundHistory()); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// A publish that the network held up may reach a node after it was read.
func TestWhatCameAfterTheReadIsNoLoss(t *testing.T) {
	late := func(at int64) bool {
		h := append(soundHistory(), givenUp("late"), Event{
			At: at, Kind: Deliver, Session: "sub", Node: "n2", Channel: "t:0", Tag: "late", Offset: 4, Stamp: 400,
		})
		return slices.ContainsFunc(Check(h), func(v Violation) bool { return v.Rule == "what is delivered stays" })
	}
	if !late(29*second) || late(31*second) {
		t.Errorf("delivered before the read: %v, after it: %v", late(29*second), late(31*second))
	}
}

// where returns the first event that is as wanted.
func where(history []Event, wanted func(Event) bool) *Event {
	return &history[slices.IndexFunc(history, wanted)]
}

// givenUp is a publish with the key before its revocation, of which nobody knows what
// became.
func givenUp(tag string) Event {
	return Event{
		At: 13 * second, Began: 10 * second, Kind: Publish, Node: "n1", Channel: "t:0", Tag: tag, Key: "key",
		Outcome: Unknown, Code: "outcome_unknown",
	}
}

// A message that is stored twice breaks a promise only if it was repeated as long as its id
// is remembered.
func TestRepeatOfAForgottenIDIsNone(t *testing.T) {
	stored := func(again int64) []Event {
		h := soundHistory()
		where(h, func(e Event) bool { return e.Kind == Publish && e.Tag == "b" && e.Outcome == OK }).At = again
		for i := range h {
			if h[i].Kind == Read && h[i].Tag == "c" {
				h[i].Tag = "b"
			}
		}
		return h
	}
	repeated := func(h []Event) bool {
		return slices.ContainsFunc(Check(h), func(v Violation) bool { return v.Rule == "no repeat" })
	}
	sent := 6*second - 10
	if !repeated(stored(sent + int64(repeatable) - 1)) {
		t.Error("a repeat within the time for which ids are remembered is none")
	}
	if repeated(stored(sent + int64(repeatable))) {
		t.Error("a repeat of an id that may be forgotten is one")
	}
}

func TestEveryRuleFindsItsViolation(t *testing.T) {
	is := func(kind Kind, tag string) func(Event) bool {
		return func(e Event) bool { return e.Kind == kind && e.Tag == tag }
	}
	without := func(h []Event, unwanted func(Event) bool) []Event { return slices.DeleteFunc(h, unwanted) }
	tested := make(map[string]bool)
	for _, c := range []struct {
		rule string
		what string // part of the violation's text
		bad  func([]Event) []Event
	}{
		{"one message per offset", "is a", func(h []Event) []Event {
			where(h, is(Deliver, "b")).Offset = 1
			return h
		}},
		{"one message per offset", "is of 100", func(h []Event) []Event { // replay differs from live in its stamp
			return append(h, Event{
				Kind: Deliver, Session: "again", Node: "n1", Channel: "t:0", Tag: "a", Offset: 1, Stamp: 101,
				Replay: true,
			})
		}},
		{"what is acknowledged is there", "c was acknowledged", func(h []Event) []Event {
			return without(h, func(e Event) bool { return e.Kind == Read && e.Tag == "c" && e.Node == "n2" })
		}},
		{"what is acknowledged is there", "a was acknowledged", func(h []Event) []Event {
			where(h, is(Publish, "a")).Offset = 0
			return h
		}},
		{"no hole", "lacks 2", func(h []Event) []Event {
			return without(h, func(e Event) bool { return e.Kind == Read && e.Tag == "b" })
		}},
		{"no hole", "begins at 2", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Kind == Retained }).Offset = 2
			return h
		}},
		{"no repeat", `b (id "b", sent 2 times)`, func(h []Event) []Event {
			for i := range h {
				if h[i].Kind == Read && h[i].Tag == "c" {
					h[i].Tag = "b"
				}
			}
			return h
		}},
		{"all nodes agree", "up to 3 on n1 and up to 2 on n2", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Kind == Retained && e.Node == "n2" }).Head = 2
			return h
		}},
		{"time does not go back", "is of 301", func(h []Event) []Event {
			for i := range h {
				if h[i].Tag == "b" && h[i].Stamp != 0 {
					h[i].Stamp = 301
				}
			}
			return h
		}},
		{"publishes of a connection keep their order", "pub sent c before a", func(h []Event) []Event {
			where(h, is(Publish, "a")).Seq = 5
			return h
		}},
		{"what was acknowledged comes before what was sent later", "b was acknowledged at 2", func(h []Event) []Event {
			e := where(h, is(Publish, "c"))
			e.Offset = 1
			return h
		}},
		{"a subscriber gets everything once and in order", "after 1", func(h []Event) []Event {
			return without(h, is(Deliver, "b"))
		}},
		{"a subscriber gets everything once and in order", "after 2", func(h []Event) []Event { // twice
			return slices.Insert(h, 8, h[7])
		}},
		{"a subscriber gets everything once and in order", "will not come", func(h []Event) []Event {
			return append(h, Event{Kind: Gap, Session: "sub", Channel: "t:0", Offset: 4, Head: 9})
		}},
		{"a subscriber gets everything once and in order", "means nothing", func(h []Event) []Event {
			return append(h, Event{Kind: Reset, Session: "sub", Channel: "t:0"})
		}},
		{"a subscriber gets everything once and in order", "before it says subscribed", func(h []Event) []Event {
			return without(h, func(e Event) bool { return e.Kind == Subscribe })
		}},
		{"nobody is sent what it has", "delivers t:0@2 to sub, which has all up to 3", func(h []Event) []Event {
			return append(h, Event{
				At: 28 * second, Kind: Deliver, Session: "sub", Node: "n2", Channel: "t:0", Tag: "b",
				Offset: 2, Stamp: 200, Replay: true,
			})
		}},
		{"nobody is sent what it has", "which has all up to 2", func(h []Event) []Event { // it named the offset itself
			return append(h, Event{Kind: Subscribe, Session: "again", Node: "n1", Channel: "t:0", Offset: 2, Head: 1},
				Event{Kind: Deliver, Session: "again", Node: "n1", Channel: "t:0", Tag: "b", Offset: 2, Stamp: 200})
		}},
		{"a subscriber gets everything to the end", "up to 2 of 3", func(h []Event) []Event {
			return without(h, is(Deliver, "c"))
		}},
		{"what is delivered stays", "c was delivered", func(h []Event) []Event {
			return without(h, func(e Event) bool { return e.Kind == Read && e.Tag == "c" })
		}},
		{"nobody is sent what nobody published", "ghost", func(h []Event) []Event {
			where(h, is(Deliver, "c")).Tag = "ghost"
			return h
		}},
		{"nobody is sent what nobody published", "was published to t:0", func(h []Event) []Event {
			return append(h, Event{Kind: Deliver, Session: "other", Channel: "m:0", Tag: "a"})
		}},
		{"what failed did not happen", "d was refused", func(h []Event) []Event {
			where(h, is(Deliver, "c")).Tag = "d"
			return h
		}},
		{"package client gets everything through", "sent d", func(h []Event) []Event {
			where(h, is(Publish, "d")).Session = "follower-0"
			return h
		}},
		{"a key works until it is revoked", "n1 refuses", func(h []Event) []Event {
			e := where(h, func(e Event) bool { return e.Kind == Opened })
			e.Outcome, e.Code = Failed, "invalid_key"
			return h
		}},
		{"a revoked key is dead", "n2 takes key", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Session == "late" }).Outcome = OK
			return h
		}},
		{"a revoked key is dead", "delivers e", func(h []Event) []Event {
			return append(h,
				Event{At: 28 * second, Began: 28*second - 10, Kind: Publish, Channel: "m:0", Tag: "e", Outcome: OK},
				Event{At: 29 * second, Kind: Deliver, Session: "user", Channel: "m:0", Tag: "e"})
		}},
		// a body that was held back
		{"a revoked key is dead", "n1 takes key key (publish) at 11.500 s", func(h []Event) []Event {
			return append(h, Event{
				At: 12 * second, Began: 11*second + second/2, Kind: Publish, Node: "n1", Channel: "t:0",
				Tag: "k", Key: "key", Outcome: OK, Offset: 4,
			})
		}},
		{"nothing of a key is stored after its revocation", "k of key key at t:0@4", func(h []Event) []Event {
			where(h, is(Publish, "c")).Began = 12 * second
			return append(h, givenUp("k"), Event{Kind: Read, Node: "n1", Channel: "t:0", Tag: "k", Offset: 4, Stamp: 300})
		}},
		{
			"nothing of a key is stored after its revocation", "k of key key at t:1@1, of 301, behind c at t:0@3, of 300",
			func(h []Event) []Event {
				where(h, is(Publish, "c")).Began = 12 * second
				return append(h, givenUp("k"), Event{Kind: Read, Node: "n1", Channel: "t:1", Tag: "k", Offset: 1, Stamp: 301})
			},
		},
		{"a node ends only when it must", "panic", func(h []Event) []Event {
			return append(h, Event{Kind: Died, Node: "n1", Note: "panic: no"})
		}},
		{"a majority goes on", "from 9.000 s to 21.000 s, when something was wrong only with [n2]", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Kind == Healed }).Note = "n1 n2 n3"
			return append([]Event{
				{At: 1 * second, Kind: Broken, Node: "n2", Note: "freeze"},
				{At: 11 * second, Kind: Mended, Node: "n2", Note: "freeze"},
			}, h...)
		}},
		{"a slow leader hands over", "n1 has a slow disk from 2.000 s to 27.000 s", func(h []Event) []Event {
			return append(h, Event{At: 27 * second, Began: 2 * second, Kind: Slowed, Node: "n1", Note: "n1"})
		}},
		{"a healed cluster lives", "n2 does not serve", func(h []Event) []Event {
			return without(h, func(e Event) bool { return e.Kind == Live && e.Node == "n2" })
		}},
		{"a healed cluster lives", "n2 is back", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Kind == Live && e.Node == "n2" }).At += 29 * second
			return h
		}},
		{"a member is shown once", "that anna entered p:0, which is there", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Entered, ID: "anna", Tag: "anna.1"})
		}},
		{"a member is shown once", "lists anna twice in p:0 to late-n1", func(h []Event) []Event {
			twice := where(h, func(e Event) bool { return e.Kind == Listed })
			return slices.Insert(h, slices.IndexFunc(h, func(e Event) bool { return e.Kind == Listed }), *twice)
		}},
		{"a member is shown once", "n2 lists anna twice", func(h []Event) []Event {
			return append(h, *where(h, func(e Event) bool { return e.Kind == View && e.Node == "n2" }))
		}},
		{"a member is shown once", "counts 2 in p:0 for late-n1, which is shown 1", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Counted, Head: 2})
		}},
		{"nobody is said to have left who has not", "anna left p:0 (timeout), which it has not", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Left, ID: "anna", Code: "timeout"})
		}},
		{"nobody is said to have left who has not", "bert left p:0, which was not there", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Left, ID: "bert", Code: "node"})
		}},
		// back within the grace
		{"nobody is said to have left who has not", "anna left p:0 (timeout)", func(h []Event) []Event {
			gone := Event{
				At: 33 * second, Kind: Gone, Began: 32 * second, Session: "anna-1", Node: "n1", Channel: "p:0", ID: "anna",
				Code: "broken",
			}
			back := Event{
				At: 35 * second, Kind: Enter, Began: 34 * second, Session: "anna-2", Node: "n2", Channel: "p:0", ID: "anna",
				Tag: "anna.1", Outcome: OK,
			}
			where(h, func(e Event) bool { return e.Kind == Here }).Session = "anna-2"
			return toldLate(append([]Event{gone, back}, h...), Event{Kind: Left, ID: "anna", Code: "timeout"})
		}},
		{"an update is one change", "was updated to anna.1, which has that already", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Updated, ID: "anna", Tag: "anna.1"})
		}},
		{"an update is one change", "was updated to anna.0, which had that before anna.1", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Updated, ID: "anna", Tag: "anna.0"})
		}},
		{"an update is one change", "was updated to carl.0, which is not there", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Updated, ID: "carl", Tag: "carl.0"})
		}},
		{"members leave for the reason that is said", "bert left p:0 by itself", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Kind == Left && e.ID == "bert" }).Code = "left"
			return h
		}},
		{"members leave for the reason that is said", "(timeout), whose node was killed", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Kind == Left && e.ID == "bert" }).Code = "timeout"
			return h
		}},
		{"every node shows the members", "n2 does not list anna", func(h []Event) []Event {
			return without(h, func(e Event) bool { return e.Kind == View && e.Node == "n2" })
		}},
		{"every node shows the members", "n2 lists carl in p:0 with 1 connections of 0", func(h []Event) []Event {
			carl := Event{At: 45 * second, Kind: View, Node: "n2", Channel: "p:0", ID: "carl", Tag: "carl.0", Head: 1}
			return slices.Insert(h, slices.IndexFunc(h, func(e Event) bool { return e.Kind == Viewed }), carl)
		}},
		{"every node shows the members", "n2 lists anna in p:0 with anna.0, others with anna.1", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Kind == View && e.Node == "n2" }).Tag = "anna.0"
			return h
		}},
		{"every node shows the members", "n1 lists in p:0 [anna.1] and has told its watcher []", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Left, ID: "anna", Code: "left"})
		}},
		{"every node shows the members", "n1 tells nobody the members", func(h []Event) []Event {
			return toldLate(h, Event{Kind: Unwatched})
		}},
		{"every node shows the members", "n1 does not list p:0: no", func(h []Event) []Event {
			where(h, func(e Event) bool { return e.Kind == Viewed }).Code = "no"
			return h
		}},
		{"a healed cluster lives", "ends before", func(h []Event) []Event {
			return without(h, func(e Event) bool { return e.Kind == Healed })
		}},
	} {
		tested[c.rule] = true
		found := Check(c.bad(soundHistory()))
		if !slices.ContainsFunc(found,
			func(v Violation) bool { return v.Rule == c.rule && strings.Contains(v.Text, c.what) }) {
			t.Errorf("%s (%s): found %v", c.rule, c.what, found)
		}
	}
	for _, r := range rules {
		if !tested[r.name] {
			t.Errorf("%s: nothing shows that it finds anything", r.name)
		}
	}
}

func TestHistoryIsReadAsItWasWritten(t *testing.T) {
	var file bytes.Buffer
	for _, e := range soundHistory() {
		if err := json.NewEncoder(&file).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	history, err := ReadHistory(&file)
	if err != nil || !slices.Equal(history, soundHistory()) {
		t.Errorf("read %d events, %v", len(history), err)
	}
	if _, err := ReadHistory(strings.NewReader(`{"at":1,"kind":"read","what":2}`)); err == nil {
		t.Error("a history with a field that nobody knows is read")
	}
}

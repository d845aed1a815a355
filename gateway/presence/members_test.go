package presence

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

var room = fsm.ChannelKey{Project: "p", Name: "room"}

// The differences of a channel come at most four times a second, and leave out what is over.
func TestDifferences(t *testing.T) {
	m, now := newMembers("a", time.Second), time.UnixMilli(1_764_000_000_000)
	m.Watch(room)
	m.Enter(room, "anna", "1", now)
	all, _, wait := m.Flush(now)
	if len(all) != 1 || len(all[0].Entered) != 1 || all[0].Count != 1 || wait != 0 {
		t.Fatalf("%+v, wait %v", all, wait)
	}
	m.Update(room, "anna", "2", now)
	m.Enter(room, "bert", "1", now)
	m.Enter(room, "carl", "1", now)
	m.Leave(room, "carl", now)
	if all, _, wait = m.Flush(now); len(all) != 0 || wait != differencePause {
		t.Fatalf("%+v, wait %v", all, wait)
	}
	now = now.Add(differencePause)
	all, _, _ = m.Flush(now)
	if len(all) != 1 || len(all[0].Entered) != 1 || len(all[0].Updated) != 1 || len(all[0].Left) != 0 ||
		all[0].Count != 2 {
		t.Fatalf("%+v", all)
	}
	// What was taken back before anybody heard of it is nothing.
	m.Update(room, "anna", "3", now)
	m.Update(room, "anna", "2", now)
	if all, _, _ = m.Flush(now.Add(differencePause)); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

// A watcher that begins in between sees what the others were told last.
func TestSyncFitsTheDifferences(t *testing.T) {
	m, now := newMembers("a", time.Second), time.UnixMilli(1_764_000_000_000)
	m.Watch(room)
	m.Enter(room, "anna", "1", now)
	m.Enter(room, "bert", "1", now)
	m.Flush(now)
	m.Update(room, "anna", "2", now)
	m.Leave(room, "bert", now)
	m.Enter(room, "carl", "1", now)
	members, version, _ := m.Sync(room)
	if len(members) != 2 || members[0].Data != "1" || members[1].ID != "bert" {
		t.Fatalf("%+v", members)
	}
	all, _, _ := m.Flush(now.Add(differencePause))
	if len(all) != 1 || all[0].Version != version+1 || len(all[0].Entered) != 1 || len(all[0].Updated) != 1 ||
		len(all[0].Left) != 1 {
		t.Fatalf("%+v after version %d", all, version)
	}
}

// A sync comes in pieces of a bounded size, and each text is JSON.
func TestPiecesOfASync(t *testing.T) {
	var members []Member
	for i := range 3000 {
		members = append(members, Member{ID: fmt.Sprintf("user %04d \"", i), Data: `{"x":"` + strings.Repeat("y", 50) + `"}`})
	}
	seen, pieces := 0, encodeSync(`a "room"`, members)
	for i, text := range pieces {
		var f struct {
			Channel string
			Sync    struct {
				Part int
				Last bool
			}
			Members []struct{ ID string }
			Count   int
		}
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatal(err)
		}
		if len(text) > 64<<10 || f.Sync.Part != i+1 || f.Sync.Last != (i == len(pieces)-1) || f.Count != 3000 ||
			f.Channel != `a "room"` {
			t.Errorf("piece %d of %d bytes: %+v", i, len(text), f.Sync)
		}
		for _, m := range f.Members {
			if m.ID != members[seen].ID {
				t.Fatalf("%d: %s", seen, m.ID)
			}
			seen++
		}
	}
	if seen != 3000 || len(encodeSync("c", nil)) != 1 {
		t.Errorf("%d members in %d pieces", seen, len(pieces))
	}
}

func asItIs(text []byte) []byte { return text }

// What a socket did not take comes again, before what is newer.
func TestFeedGivesAgain(t *testing.T) {
	m, now := newMembers("a", time.Second), time.UnixMilli(1_764_000_000_000)
	f := NewFeed(m, asItIs)
	f.Watch(room)
	var c Cursor
	c.Taken(f.Next(room, &c))
	m.Enter(room, "anna", "1", now)
	f.Flush(now)
	first := f.Next(room, &c)
	if !strings.Contains(string(first), "anna") || f.Next(room, &c) != nil {
		t.Fatalf("told %s, and something before it was taken", first)
	}
	now = now.Add(differencePause)
	m.Enter(room, "bert", "1", now)
	f.Flush(now)
	c.Back(first)
	if again := f.Next(room, &c); string(again) != string(first) {
		t.Fatalf("told %s, not %s", again, first)
	}
	c.Taken(first)
	if next := f.Next(room, &c); !strings.Contains(string(next), "bert") {
		t.Errorf("told %s", next)
	}
}

// Watchers that are behind take a bounded memory, however many channels there are.
func TestFeedIsBounded(t *testing.T) {
	m, now := newMembers("a", time.Second), time.UnixMilli(1_764_000_000_000)
	f := NewFeed(m, asItIs)
	key := func(i int) fsm.ChannelKey { return fsm.ChannelKey{Project: "p", Name: fmt.Sprint(i)} }
	const channels, size = 600, 32 << 10
	for i := range channels {
		f.Watch(key(i))
		m.Enter(key(i), "anna", strings.Repeat("x", size), now)
	}
	f.Flush(now)
	if f.bytes > maxFeedBytes || f.bytes < maxFeedBytes-2*size {
		t.Errorf("%d bytes are kept", f.bytes)
	}
	for i := range channels {
		f.Unwatch(key(i))
	}
	if f.bytes != 0 || f.order.Len() != 0 {
		t.Errorf("%d bytes of %d differences are left", f.bytes, f.order.Len())
	}
}

// A cursor that is far behind is told everything anew.
func TestFeedCatchesUp(t *testing.T) {
	m, now := newMembers("a", time.Second), time.UnixMilli(1_764_000_000_000)
	f := NewFeed(m, asItIs)
	f.Watch(room)
	var c Cursor
	next := func() string {
		text := f.Next(room, &c)
		if text != nil {
			c.Taken(text)
		}
		return string(text[:min(len(text), 60)])
	}
	if text := next(); !strings.Contains(text, `"sync"`) {
		t.Fatal(text)
	}
	for i := range maxKept + 10 {
		m.Enter(room, fmt.Sprint(i), "1", now)
		f.Flush(now)
		now = now.Add(differencePause)
	}
	if text := next(); !strings.Contains(text, `"sync"`) {
		t.Errorf("far behind: %s", text)
	}
	m.Leave(room, "3", now)
	f.Flush(now)
	if text := next(); !strings.Contains(text, `"entered"`) || next() != "" {
		t.Errorf("one behind: %s", text)
	}
	f.Unwatch(room)
	if text := next(); text != "" || len(m.channels) != 1 {
		t.Errorf("not watched: %s", text)
	}
}

// Without other nodes nothing holds a grace up, and a member that is back ends it.
func TestGraceOfOneNode(t *testing.T) {
	m, now := newMembers("a", time.Second), time.UnixMilli(1_764_000_000_000)
	m.Enter(room, "anna", "1", now)
	m.Break(room, "anna", now.Add(time.Second), now)
	if next := m.Tick(now.Add(999 * time.Millisecond)); !m.Has(room, "anna") || !next.Equal(now.Add(time.Second)) {
		t.Errorf("next at %v", next)
	}
	m.Enter(room, "anna", "1", now)
	if m.Tick(now.Add(time.Minute)); !m.Has(room, "anna") {
		t.Error("a member that is back has left")
	}
	m.Break(room, "anna", now.Add(time.Second), now)
	if m.Tick(now.Add(time.Second)); m.Has(room, "anna") {
		t.Error("the grace does not end")
	}
	if _, stats := m.Total(); stats.Entered != 1 || stats.Left[TimedOut] != 1 || len(m.channels) != 0 {
		t.Errorf("%+v, %d channels are left", stats, len(m.channels))
	}
}

// A node that tells everything anew leaves nothing of its subscribers of before.
func TestSubscribersAreToldAnew(t *testing.T) {
	a, b, now := newMembers("a", time.Second), newMembers("b", time.Second), time.UnixMilli(1_764_000_000_000)
	stage := fsm.ChannelKey{Project: "p", Name: "stage"}
	a.AddSubscribers(room, 3)
	a.AddSubscribers(stage, 2)
	everything(a, b, "a", now)
	a.AddSubscribers(room, -3)
	everything(a, b, "a", now)
	if n, m := b.Count(room).Subscribers, b.Count(stage).Subscribers; n != 0 || m != 2 || len(b.channels) != 1 {
		t.Errorf("%d and %d subscribers, %d channels", n, m, len(b.channels))
	}
	again := newMembers("a", time.Second)
	again.Begin("a", 2)
	if everything(again, b, "a", now); len(b.channels) != 0 {
		t.Errorf("%d channels after a restart", len(b.channels))
	}
}

// Data that a member said last on a node where it is no more stays, on every node, while another
// node takes it over; without that it is gone in the end.
func TestLatestDataStays(t *testing.T) {
	now := time.UnixMilli(1_764_000_000_000)
	a, b, c := newMembers("a", time.Second), newMembers("b", time.Second), newMembers("c", time.Second)
	a.Enter(room, "anna", "1", now)
	b.Enter(room, "anna", "2", now.Add(time.Millisecond))
	everything(b, a, "b", now)
	heard := a.Number()
	for _, m := range []*Members{b, c} {
		everything(a, m, "a", now)
	}
	everything(b, c, "b", now)
	b.Update(room, "anna", "3", now.Add(time.Second)) // is told with the removal alone
	told := b.Number() - 1
	b.Watch(room)
	c.Watch(room)
	b.Leave(room, "anna", now)
	changes, upTo, _ := b.Changes(told, 10)
	for _, m := range []*Members{a, c} {
		m.Take("b", Message{Boot: 1, From: told, To: upTo, Changes: changes}, now)
	}
	if list, _ := a.List(room, "", 1); len(list) != 1 || list[0].Data != "3" {
		t.Errorf("who takes over has %+v", list)
	}
	shows := func(m *Members, want string) {
		t.Helper()
		m.Tick(now)
		if list, _ := m.List(room, "", 1); len(list) != 1 || list[0].Data != want {
			t.Errorf("%s shows %+v, want %s", m.own.node, list, want)
		}
	}
	shows(b, "3")
	shows(c, "3")
	everything(a, c, "a", now)
	now = now.Add(takeOverWithin)
	shows(b, "3") // a was not heard
	for _, want := range []string{"3", "1"} {
		b.Take("a", Message{Boot: 1, From: heard, To: heard}, now)
		shows(b, want)
		now = now.Add(takeOverWithin)
	}
	shows(c, "3")
	if len(c.last) != 0 || len(b.last) != 0 {
		t.Errorf("%d and %d are kept", len(c.last), len(b.last))
	}
}

// A connection whose place another one took on another node counts again when it is still there.
func TestHoldAfterTheMemberMoved(t *testing.T) {
	a, b, now := newMembers("a", time.Second), newMembers("b", time.Second), time.UnixMilli(1_764_000_000_000)
	a.Enter(room, "anna", "1", now)
	everything(a, b, "a", now)
	a.Break(room, "anna", now.Add(time.Minute), now)
	b.Enter(room, "anna", "2", now.Add(time.Second))
	everything(b, a, "b", now.Add(time.Second))
	a.Hold(room, "anna")
	list, _ := a.List(room, "", 10)
	if want := (Member{ID: "anna", Data: "2", Since: now.UnixMilli(), Connections: 2}); len(list) != 1 || list[0] != want {
		t.Errorf("%+v, want %+v", list, want)
	}
}

// A member that comes to a node which is just back has not left for a node that hears of its
// removal elsewhere first, though that node was silent for long.
func TestMoveToANodeThatIsBack(t *testing.T) {
	now := time.UnixMilli(1_764_000_000_000)
	a, b, c := newMembers("a", time.Second), newMembers("b", time.Second), newMembers("c", time.Second)
	a.Enter(room, "anna", "1", now)
	for _, m := range []*Members{b, c} {
		everything(a, m, "a", now)
	}
	everything(b, c, "b", now)
	told := a.Number()
	a.Break(room, "anna", now.Add(time.Second), now)
	c.Watch(room)
	c.Flush(now)
	c.SetNodes(map[string]time.Duration{"a": 0, "b": time.Minute}, now)
	b.Enter(room, "anna", "1", now)
	everything(b, a, "b", now)
	changes, upTo, _ := a.Changes(told, 10)
	remove := func(now time.Time) { c.Take("a", Message{Boot: 1, From: told, To: upTo, Changes: changes}, now) }
	shown := func(want int) {
		t.Helper()
		if list, _ := c.List(room, "", 10); len(list) != want {
			t.Errorf("%d are there, want %d", len(list), want)
		}
	}
	remove(now)
	shown(1)
	everything(b, c, "b", now)
	shown(1)
	b.Leave(room, "anna", now)
	everything(b, c, "b", now)
	shown(0)

	// If the node is gone again before it was heard, the member leaves all the same.
	everything(a, c, "a", now)
	b.Enter(room, "anna", "1", now)
	everything(b, a, "b", now)
	a.Enter(room, "anna", "1", now)
	told = a.Number()
	everything(a, c, "a", now)
	a.Break(room, "anna", now, now)
	a.Leave(room, "anna", now)
	changes, upTo, _ = a.Changes(told, 10)
	c.SetNodes(map[string]time.Duration{"a": 0, "b": time.Minute}, now)
	remove(now)
	shown(1)
	c.Tick(now.Add(backAfter))
	shown(0)
}

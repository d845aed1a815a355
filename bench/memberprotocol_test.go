package bench

import (
	"fmt"
	"testing"
)

func TestAptlyMembersParse(t *testing.T) {
	p := newAptlyMembers(Target{Key: "sk_test"})
	frames := []string{
		`{"type":"presence","channel":"c","sync":{"part":1,"last":false},` +
			`"members":[{"id":"1","data":"x"},{"id":"2"}],"count":3}`,
		`{"type":"presence","channel":"c","sync":{"part":2,"last":true},"members":[{"id":"3"}],"count":3}`,
		`{"type":"presence","channel":"c","entered":[{"id":"4"}],"updated":[{"id":"3"}],` +
			`"left":[{"id":"1","reason":"left"}],"count":3}`,
		`{"type":"occupancy","channel":"c","subscribers":7,"members":5}`,
		`{"type":"presence_ok","channel":"c","action":"enter","id":"18446744073709551615"}`,
		`{"type":"error","error":"no","code":"forbidden"}`,
	}
	w := watchers{views: []view{nothing}}
	m := &member{}
	var told []string
	for range 2 { // the second time as another watcher that is told the same
		for _, frame := range frames {
			_, err := p.Parse([]byte(frame), func(e Event) {
				w.hear(m, e)
				switch e.Kind {
				case Acknowledged:
					told = append(told, fmt.Sprint("answered ", e.ID))
				case Refused:
					told = append(told, "refused")
				default:
					v := w.views[0]
					told = append(told, fmt.Sprint(v.count, v.partial, v.members == hash(2)^hash(3)^hash(4)))
				}
			})
			if err != nil {
				t.Fatalf("%s: %v", frame, err)
			}
		}
	}
	half := []string{
		"3 true false", "3 false false", "3 false true", "5 false false", "answered 18446744073709551615", "refused",
	}
	if want := append(half, half...); fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %q", told)
	}
	if w.lists != 2 || w.listed != 6 || w.moves != 4 || w.numbers != 2 {
		t.Errorf("counted %+v", w)
	}
	for _, bad := range []string{
		`{"type":"presence","members":[{"id":"x"}]}`, `{"type":"occupancy","members":"x"}`, `{"type":"presence_ok",}`,
	} {
		if _, err := p.Parse([]byte(bad), func(Event) {}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestWatchersCountWhoKnows(t *testing.T) {
	s := &swarm{}
	for range 3 {
		s.add(placement{})
	}
	w := newWatchers(s)
	change := &MemberChange{Entered: []uint64{1}, Count: 1}
	for _, m := range s.members[:2] {
		w.hear(m, Event{Kind: Changed, Change: &MemberChange{Part: 1}})
		w.hear(m, Event{Kind: Changed, Change: change})
	}
	w.expect(view{count: 1, members: hash(1)})
	if w.right != 2 {
		t.Errorf("%d know", w.right)
	}
	w.hear(s.members[0], Event{Kind: Changed, Change: change}) // it enters twice
	s.onLost(s.members[1], fmt.Errorf("gone"))
	if w.right != 0 || w.disconnected != 1 || len(w.problems) != 1 {
		t.Errorf("%d know, %d disconnected, %q", w.right, w.disconnected, w.problems)
	}
}

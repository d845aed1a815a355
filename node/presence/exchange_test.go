package presence

import (
	"fmt"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/presence"
)

// Changes are kept for a peer that is being told everything, however long that takes.
func TestChangesAreKeptWhileEverythingIsTold(t *testing.T) {
	members := presence.New(presence.Config{
		Changed: func() {},
		Rule:    func(fsm.ChannelKey) fsm.Presence { return fsm.Presence{Grace: grace, MaxMembers: 1000} },
	})
	members.Begin("a", 1)
	now := time.UnixMilli(1_764_000_000_000)
	for i := range chunk + 1 {
		members.Enter(room, fmt.Sprint("user", i), "null", now)
	}
	e := New(members, nil, nil)
	known := &peer{link: link{members: members, known: true, number: members.Number()}}
	filling := &peer{link: link{members: members}}
	e.peers["b"], e.peers["c"] = known, filling
	for want := 1; want <= 2; want++ {
		m := filling.next(now)
		known.number = members.Enter(room, fmt.Sprint("late", want), "null", now)
		e.SetPeers([]string{"b", "c"})
		if more := filling.answered(m, presence.Answer{Taken: true}, nil, now); m.Piece != want || !more {
			t.Fatalf("piece %d, want %d; more is due: %v", m.Piece, want, more)
		}
	}
	if m := filling.next(now); m.Piece != 0 || len(m.Changes) != 2 {
		t.Errorf("piece %d with %d changes follows", m.Piece, len(m.Changes))
	}
}

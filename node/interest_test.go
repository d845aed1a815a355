package node

import (
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

func TestAttentionIsGivenInDoubt(t *testing.T) {
	cursors := fsm.ChannelKey{Project: "p", Name: "cursors"}
	other := fsm.ChannelKey{Project: "p", Name: "other"}
	var a interest
	now := time.Now()
	check := func(state string, wantsCursors, wantsOther bool) {
		t.Helper()
		if a.wants(cursors, now) != wantsCursors || a.wants(other, now) != wantsOther {
			t.Errorf("%s: cursors %v, other %v", state, a.wants(cursors, now), a.wants(other, now))
		}
	}
	apply := func(c interestChange, taken bool) {
		t.Helper()
		if answer := a.apply(c, now); answer.Taken != taken || answer.Epoch != a.epoch {
			t.Errorf("%+v: %+v", c, answer)
		}
	}
	add := []fsm.ChannelKey{cursors}
	check("nothing is known", true, true)
	apply(interestChange{Epoch: 7, Number: 2, Complete: true}, false)
	check("the beginning is missing", true, true)
	apply(interestChange{Epoch: 0, Number: 1, Add: add}, false)
	apply(interestChange{Epoch: 7, Number: 1}, true)
	check("the rest is still to come", true, true)
	apply(interestChange{Epoch: 7, Number: 2, Add: add, Complete: true}, true)
	check("all is known", true, false)
	apply(interestChange{Epoch: 6, Number: 1, Complete: true}, false)
	check("an old epoch came late", true, false)
	apply(interestChange{Epoch: 7, Number: 3, Remove: add}, true)
	check("it is ignored", false, false)

	now = now.Add(interestAge + 1)
	check("nothing was heard for long", true, true)
	apply(interestChange{Epoch: 7, Number: 4}, true)
	check("it is alive", false, false)
	apply(interestChange{Epoch: 7, Number: 6, Add: add}, false)
	check("a change was lost", true, true)
	apply(interestChange{Epoch: 7, Number: 5}, true)
	check("and came later", true, true)
	apply(interestChange{Epoch: 8, Number: 1, Add: add}, true)
	apply(interestChange{Epoch: 8, Number: 2, Complete: true}, true)
	check("a new epoch", true, false)
}

package relay

import (
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

func TestPeersSendEverythingInDoubt(t *testing.T) {
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
	apply := func(c Change, taken bool) {
		t.Helper()
		if answer := a.apply(c, now); answer.Taken != taken || answer.Epoch != a.epoch {
			t.Errorf("%+v: %+v", c, answer)
		}
	}
	add := []fsm.ChannelKey{cursors}
	check("nothing is known", true, true)
	apply(Change{Epoch: 7, Number: 2, Complete: true}, false)
	check("the beginning is missing", true, true)
	apply(Change{Epoch: 0, Number: 1, Add: add}, false)
	apply(Change{Epoch: 7, Number: 1}, true)
	check("the rest is still to come", true, true)
	apply(Change{Epoch: 7, Number: 2, Add: add, Complete: true}, true)
	check("all is known", true, false)
	apply(Change{Epoch: 6, Number: 1, Complete: true}, false)
	check("an old epoch came late", true, false)
	apply(Change{Epoch: 7, Number: 3, Remove: add}, true)
	check("it is dropped", false, false)

	now = now.Add(interestAge + 1)
	check("nothing was heard for long", true, true)
	apply(Change{Epoch: 7, Number: 4}, true)
	check("it is alive", false, false)
	apply(Change{Epoch: 7, Number: 6, Add: add}, false)
	check("a change was lost", true, true)
	apply(Change{Epoch: 7, Number: 5}, true)
	check("and came later", true, true)
	apply(Change{Epoch: 8, Number: 1, Add: add}, true)
	apply(Change{Epoch: 8, Number: 2, Complete: true}, true)
	check("a new epoch", true, false)
}

func TestInterestIsBounded(t *testing.T) {
	var a interest
	now := time.Now()
	a.apply(Change{Epoch: 1, Number: 1}, now)
	number := uint64(1)
	for told := 0; told <= maxInterest; told += interestChunk {
		number++
		change := Change{Epoch: 1, Number: number, Complete: true}
		for i := range interestChunk {
			change.Add = append(change.Add, channelNumber(told+i))
		}
		if !a.apply(change, now).Taken {
			t.Fatalf("change %d is not taken", number)
		}
	}
	if len(a.channels) > maxInterest {
		t.Errorf("%d channels of a peer are remembered", len(a.channels))
	}
	if !a.wants(fsm.ChannelKey{Project: "p", Name: "another"}, now) {
		t.Error("a peer with too much interest gets less than everything")
	}
}

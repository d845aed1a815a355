package bench

import (
	"testing"
)

// history is a little world of two channels, two publishers and two
// subscribers of channel 0.
type history struct {
	*Checker
	a, b *Observer
}

func newHistory() history {
	c := NewChecker(2, 2)
	return history{c, c.Observe(0), c.Observe(0)}
}

// both delivers to both subscribers.
func (h history) both(offset uint64, publisher int, sequence uint64) {
	h.a.Message(offset, publisher, sequence)
	h.b.Message(offset, publisher, sequence)
}

func TestCheckerJudges(t *testing.T) {
	for name, test := range map[string]struct {
		happen func(h history)
		want   Verdict
	}{
		"all is well": {func(h history) {
			h.Acknowledged(0, 0, 1, 1, 1)
			h.both(1, 0, 1)
			h.both(2, 1, 1)
			h.Acknowledged(0, 1, 1, 2, 1)
			h.Acknowledged(1, 0, 2, 1, 1)
		}, Verdict{Delivered: 4}},
		"stored without a receipt": {func(h history) {
			h.both(1, 0, 1)
		}, Verdict{Delivered: 2}},
		"acknowledged and never delivered": {func(h history) {
			h.Acknowledged(0, 0, 1, 1, 1)
		}, Verdict{Lost: 2}},
		"lost at the end for one subscriber": {func(h history) {
			h.Acknowledged(0, 0, 1, 1, 1)
			h.Acknowledged(0, 0, 2, 2, 1)
			h.both(1, 0, 1)
			h.a.Message(2, 0, 2)
		}, Verdict{Delivered: 3, Lost: 1}},
		"lost in the middle for one subscriber": {func(h history) {
			for i := uint64(1); i <= 3; i++ {
				h.Acknowledged(0, 0, i, i, 1)
				h.a.Message(i, 0, i)
			}
			h.b.Message(1, 0, 1)
			h.b.Message(3, 0, 3)
		}, Verdict{Delivered: 5, Lost: 1, OutOfOrder: 1}},
		"hole that nobody was promised": {func(h history) {
			h.both(1, 0, 1)
			h.both(3, 0, 3)
		}, Verdict{Delivered: 4, OutOfOrder: 2}},
		"first offset is not 1": {func(h history) {
			h.both(5, 0, 1)
		}, Verdict{Delivered: 2, OutOfOrder: 2}},
		"swapped": {func(h history) {
			h.a.Message(2, 0, 2)
			h.a.Message(1, 0, 1)
			h.Acknowledged(0, 0, 1, 1, 2)
			h.b.Message(1, 0, 1)
			h.b.Message(2, 0, 2)
		}, Verdict{Delivered: 4, OutOfOrder: 2}},
		"offset delivered again": {func(h history) {
			h.both(1, 0, 1)
			h.both(2, 0, 2)
			h.a.Message(1, 0, 1)
			h.a.Message(2, 0, 2)
		}, Verdict{Delivered: 4, Duplicated: 2}},
		"late one delivered twice": {func(h history) {
			h.a.Message(2, 0, 2)
			h.a.Message(1, 0, 1)
			h.a.Message(1, 0, 1)
		}, Verdict{Delivered: 2, OutOfOrder: 2, Duplicated: 1}},
		"stored twice": {func(h history) {
			h.both(1, 0, 1)
			h.both(2, 0, 1)
			h.Acknowledged(0, 0, 1, 1, 2)
		}, Verdict{Delivered: 4, Duplicated: 1}},
		"subscribers disagree": {func(h history) {
			h.a.Message(1, 0, 1)
			h.b.Message(1, 1, 1)
		}, Verdict{Delivered: 2, OutOfOrder: 1}},
		"receipt names another message's offset": {func(h history) {
			h.both(1, 0, 1)
			h.both(2, 0, 2)
			h.Acknowledged(0, 0, 1, 1, 1)
			h.Acknowledged(0, 0, 2, 2, 1)
			h.Acknowledged(0, 1, 1, 2, 1)
		}, Verdict{Delivered: 4, OutOfOrder: 1}},
		"one publisher's order turned round": {func(h history) {
			h.both(1, 0, 2)
			h.both(2, 0, 1)
			h.Acknowledged(0, 0, 1, 2, 1)
			h.Acknowledged(0, 0, 2, 1, 1)
		}, Verdict{Delivered: 4, OutOfOrder: 1}},
		"order turned round by a repeat": {func(h history) {
			h.both(1, 0, 2)
			h.both(2, 0, 1)
			h.Acknowledged(0, 0, 1, 2, 2)
			h.Acknowledged(0, 0, 2, 1, 1)
		}, Verdict{Delivered: 4}},
		"announced gap": {func(h history) {
			for i := uint64(1); i <= 4; i++ {
				h.Acknowledged(0, 0, i, i, 1)
				h.a.Message(i, 0, i)
			}
			h.b.Message(1, 0, 1)
			h.b.Gap(2, 3)
			h.b.Message(4, 0, 4)
		}, Verdict{Delivered: 6, Expired: 2}},
		"gap that reaches back over what came": {func(h history) {
			h.both(1, 0, 1)
			h.a.Gap(1, 2)
			h.a.Message(3, 0, 3)
			h.Acknowledged(0, 0, 1, 1, 1)
		}, Verdict{Delivered: 3}},
		"unreadable": {func(h history) {
			h.a.Corrupt(1)
			h.a.Message(2, 0, 1)
		}, Verdict{Delivered: 2, Corrupt: 1}},
		"unknown publisher, no sequence, no offset": {func(h history) {
			h.a.Message(1, 2, 1)
			h.a.Message(1, 0, 0)
			h.a.Message(0, 0, 1)
		}, Verdict{Corrupt: 3}},
		"far beyond one page": {func(h history) {
			for i := uint64(1); i <= 3*pageSize; i++ {
				h.both(i, int(i%2), (i+1)/2)
				h.Acknowledged(0, int(i%2), (i+1)/2, i, 1)
			}
		}, Verdict{Delivered: 6 * pageSize}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory()
			test.happen(h)
			got, problems := h.Judge()
			if got != test.want {
				t.Errorf("got  %+v\nwant %+v\n%q", got, test.want, problems)
			}
			if got.Broken() != (len(problems) > 0) {
				t.Errorf("broken is %v with %d problems in words", got.Broken(), len(problems))
			}
		})
	}
}

func TestReached(t *testing.T) {
	h := newHistory()
	if !h.a.Reached() {
		t.Error("nothing was acknowledged, yet something is missing")
	}
	h.Acknowledged(0, 0, 1, 2, 1)
	h.a.Message(1, 0, 1)
	if h.a.Reached() {
		t.Error("offset 2 is missing")
	}
	h.a.Message(2, 0, 2)
	if !h.a.Reached() || h.b.Reached() {
		t.Errorf("reached: %v and %v, want true and false", h.a.Reached(), h.b.Reached())
	}
}

func TestSpansRemove(t *testing.T) {
	var s spans
	s.add(1, 5)
	s.add(8, 8)
	s.add(10, 12)
	in := func() (n int) {
		for i := range uint64(15) {
			if s.has(i) {
				n++
			}
		}
		return n
	}
	if in() != 9 {
		t.Fatalf("%v has %d offsets", s, in())
	}
	for i, offset := range []uint64{3, 1, 5, 8, 12} {
		if !s.remove(offset) || s.remove(offset) || s.has(offset) || in() != 8-i {
			t.Fatalf("without %d it is %v", offset, s)
		}
	}
	if s.remove(7) || s.remove(13) || !s.has(2) || !s.has(4) || !s.has(10) || !s.has(11) {
		t.Fatalf("left: %v", s)
	}
}

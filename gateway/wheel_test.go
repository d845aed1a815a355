package gateway

import (
	"slices"
	"testing"
	"time"
)

func TestTrimmedWheelTellsWhoIsLeft(t *testing.T) {
	w := wheel{step: time.Second}
	conns := make([]*conn, 1000)
	for i := range conns {
		conns[i] = &conn{}
		w.schedule(conns[i], time.Duration(i%5)*time.Second)
	}
	for i, c := range conns {
		if i%100 != 0 {
			w.cancel(c)
		}
	}
	w.trim()
	for i, slot := range w.slots {
		if cap(slot) > 20 {
			t.Errorf("slot %d has room for %d after all but ten of %d have gone", i, cap(slot), len(conns))
		}
	}
	w.cancel(conns[200])
	told := make(map[*conn]int)
	w.advance(5*time.Second, func(c *conn) { told[c]++ })
	for i, c := range conns {
		want := 0
		if i%100 == 0 && i != 200 {
			want = 1
		}
		if told[c] != want {
			t.Errorf("connection %d is told %d times, want %d", i, told[c], want)
		}
	}
	if i := slices.IndexFunc(w.slots[:], func(slot []*conn) bool { return len(slot) > 0 }); i >= 0 {
		t.Errorf("slot %d is not empty", i)
	}
}

package gateway

import (
	"slices"
	"time"
)

// wheel tells its loop which connections are due. It is coarse: a connection is told at
// most one step after its time, and one that is due later than a turn of the wheel is
// told once a turn. A connection has one entry at most.
type wheel struct {
	step  time.Duration
	slots [wheelSlots][]*conn // nil where an entry was taken back
	tick  int64               // steps since the loop began that have been told
}

const wheelSlots = 512

// schedule has c told at the given time since the loop began, or sooner.
func (w *wheel) schedule(c *conn, at time.Duration) {
	tick := int64((at + w.step - 1) / w.step)
	tick = min(max(tick, w.tick+1), w.tick+wheelSlots-1)
	if c.wheelTick != 0 && c.wheelTick <= tick {
		return
	}
	w.cancel(c)
	slot := &w.slots[tick%wheelSlots]
	c.wheelTick, c.wheelAt = tick, len(*slot)
	*slot = append(*slot, c)
}

// cancel takes the entry of c back, if it has one. An entry would keep an ended
// connection in memory.
func (w *wheel) cancel(c *conn) {
	if c.wheelTick != 0 {
		w.slots[c.wheelTick%wheelSlots][c.wheelAt] = nil
		c.wheelTick = 0
	}
}

// trim gives back the room of entries that were taken back.
func (w *wheel) trim() {
	for i := range w.slots {
		slot := slices.Clone(slices.DeleteFunc(w.slots[i], func(c *conn) bool { return c == nil }))
		for at, c := range slot {
			c.wheelAt = at
		}
		w.slots[i] = slot
	}
}

// advance calls due for every connection whose time is now or has passed.
func (w *wheel) advance(now time.Duration, due func(c *conn)) {
	for target := int64(now / w.step); w.tick < target; {
		w.tick++
		slot := &w.slots[w.tick%wheelSlots]
		// By index: due may end connections with an entry further on.
		for i := range *slot {
			if c := (*slot)[i]; c != nil {
				c.wheelTick = 0
				due(c)
			}
		}
		*slot = nil
	}
}

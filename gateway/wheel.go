package gateway

import "time"

// wheel tells its loop which connections are due to be looked at. It is coarse:
// a connection is told at most one step after its time, and one that is due
// later than a turn of the wheel is told once a turn. A connection has one
// entry that counts; bringing it forward leaves the old one to be skipped.
type wheel struct {
	step  time.Duration
	slots [wheelSlots][]wheelEntry
	tick  int64 // steps since the loop began that have been told
}

type wheelEntry struct {
	conn *conn
	tick int64
}

const wheelSlots = 512

// schedule has c told at the given time since the loop began, or sooner.
func (w *wheel) schedule(c *conn, at time.Duration) {
	tick := int64((at + w.step - 1) / w.step)
	tick = min(max(tick, w.tick+1), w.tick+wheelSlots-1)
	if c.wheelTick != 0 && c.wheelTick <= tick {
		return
	}
	c.wheelTick = tick
	slot := tick % wheelSlots
	w.slots[slot] = append(w.slots[slot], wheelEntry{c, tick})
}

// advance calls due for every connection whose time is now or has passed.
func (w *wheel) advance(now time.Duration, due func(c *conn)) {
	for target := int64(now / w.step); w.tick < target; {
		w.tick++
		slot := w.tick % wheelSlots
		entries := w.slots[slot]
		w.slots[slot] = nil
		for _, e := range entries {
			if e.conn.wheelTick == e.tick {
				e.conn.wheelTick = 0
				due(e.conn)
			}
		}
	}
}

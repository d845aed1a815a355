package presence

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// While 10,000 members enter in 10 s, and leave again, what one watcher is told stays small:
// members by name up to the rule's bound, then numbers once a second, then all names again.
func TestStormIsBounded(t *testing.T) {
	const members, pause = 10_000, 50 * time.Millisecond
	m, now := newMembers("a", time.Second), time.UnixMilli(1_764_000_000_000)
	f := NewFeed(m, asItIs)
	f.Watch(room)
	var c Cursor
	told := make(map[string]int)
	bytes := make(map[string]int)
	step := func() {
		f.Flush(now)
		for text := f.Next(room, &c); text != nil; text = f.Next(room, &c) {
			c.Taken(text)
			kind := "difference"
			switch {
			case strings.Contains(string(text), `"sync"`):
				kind = "sync"
			case strings.Contains(string(text), `"occupancy"`):
				kind = "occupancy"
			}
			told[kind]++
			bytes[kind] += len(text)
		}
		now = now.Add(pause)
	}
	report := func(phase string, most int) {
		t.Helper()
		total := bytes["difference"] + bytes["occupancy"] + bytes["sync"]
		t.Logf("%s: a watcher is told %d bytes: %v, %v bytes", phase, total, told, bytes)
		if total > most {
			t.Errorf("%s: a watcher is told %d bytes, want at most %d", phase, total, most)
		}
		clear(told)
		clear(bytes)
	}
	each := members / int(10*time.Second/pause)
	for i := range members {
		m.Enter(room, fmt.Sprintf("user-%05d", i), `{"name":"somebody"}`, now)
		if i%each == each-1 {
			step()
		}
	}
	if told["occupancy"] < 8 || told["occupancy"] > 12 {
		t.Errorf("numbers are told %d times in 10 s", told["occupancy"])
	}
	report("enter", 150<<10)
	for i := range members {
		m.Leave(room, fmt.Sprintf("user-%05d", i), now)
		if i%each == each-1 {
			step()
		}
	}
	for range 20 {
		step()
	}
	if told["sync"] == 0 {
		t.Error("the members that are left are not told again")
	}
	report("leave", 250<<10)
}

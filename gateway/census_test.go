package gateway

import (
	"slices"
	"testing"
	"time"
)

// A list of connections is made in parts, finds everybody who stays, whoever comes
// and goes meanwhile, and describes nobody who is not on the page.
func TestConnectionsAreListedInParts(t *testing.T) {
	s := &Server{}
	l := &loop{server: s, index: 0, began: time.Now()}
	s.cfg.Broker = newFakeBroker()
	var stay []*conn
	add := func(id uint64) *conn {
		c := &conn{loop: l, id: id, who: nobodyYet, state: stateOpen, index: len(l.conns)}
		l.conns = append(l.conns, c)
		return c
	}
	for id := range uint64(4 * connectionsPerTurn) {
		if c := add(id + 1); id%3 != 0 {
			stay = append(stay, c)
		}
	}
	remove := func(c *conn) {
		last := len(l.conns) - 1
		l.conns[c.index] = l.conns[last]
		l.conns[c.index].index = c.index
		l.conns = l.conns[:last]
	}
	met, turns := make(map[*conn]bool), 0
	for at, more := -1, true; more; more = at > 0 {
		var part []*conn
		part, at = l.listed(ConnectionQuery{}, at)
		if len(part) > connectionsPerTurn {
			t.Fatalf("%d in one turn", len(part))
		}
		for _, c := range part {
			met[c] = true
		}
		turns++
		leaving := slices.DeleteFunc(slices.Clone(l.conns), func(c *conn) bool { return c.id%3 != 1 || c.id > uint64(turns*900) })
		for _, c := range leaving {
			remove(c)
		}
	}
	if turns < 3 {
		t.Errorf("listed in %d turns", turns)
	}
	for _, c := range stay {
		if !met[c] {
			t.Fatalf("connection %d is missed", c.id)
		}
	}
}

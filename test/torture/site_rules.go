package torture

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// recovers is for how long a node counts as broken after its fault is over.
const recovers = 10 * time.Second

// slowFor is how long a leader's disk must be slow, and nothing else wrong, for somebody
// else to lead in the end.
const slowFor = 22 * time.Second

// unrest is when which nodes are broken changes.
type unrest struct {
	at     int64
	broken map[string]bool // the nodes; the empty name is all of them
}

// unrests returns how the set of broken nodes changes, until all is healed.
func (l *ledger) unrests() (changes []unrest) {
	type change struct {
		at   int64
		node string
		by   int
	}
	var all []change
	for i := range l.history {
		switch e := &l.history[i]; e.Kind {
		case Broken:
			all = append(all, change{e.At, e.Node, 1})
		case Mended:
			all = append(all, change{e.At + int64(recovers), e.Node, -1})
		case Healed:
			all = append(all, change{e.At, "", 1}) // what comes now is the matter of another rule
		}
	}
	count := make(map[string]int)
	for len(all) > 0 {
		next := 0
		for i, c := range all {
			if c.at < all[next].at {
				next = i
			}
		}
		c := all[next]
		all = append(all[:next], all[next+1:]...)
		count[c.node] += c.by
		broken := make(map[string]bool)
		for node, n := range count {
			if n > 0 {
				broken[node] = true
			}
		}
		if len(changes) == 0 || !maps.Equal(broken, changes[len(changes)-1].broken) {
			changes = append(changes, unrest{c.at, broken})
		}
	}
	return changes
}

// majorityGoesOn: while nothing is wrong with a majority, publishes are acknowledged.
func (l *ledger) majorityGoesOn() (broken []string) {
	nodes := 0
	var acknowledged []int64
	for i := range l.history {
		switch e := &l.history[i]; {
		case e.Kind == Healed:
			nodes = len(strings.Fields(e.Note))
		case e.Kind == Publish && e.Outcome == OK && kept(e.Channel):
			acknowledged = append(acknowledged, e.At)
		}
	}
	changes := l.unrests()
	for i, c := range changes[:max(len(changes)-1, 0)] {
		if c.broken[""] || len(c.broken) > (nodes-1)/2 {
			continue
		}
		end, last := changes[i+1].at, c.at
		for _, at := range append(acknowledged, end) {
			if at <= c.at || at > end {
				continue
			}
			if at-last > int64(goesOnWithin) {
				broken = append(broken, fmt.Sprintf("nothing was acknowledged from %s to %s, when something was wrong only with %v",
					seconds(last), seconds(at), sortedNames(c.broken)))
			}
			last = at
		}
	}
	return broken
}

// slowLeaderHandsOver: the disk of a leader is slow for long, and nothing else is wrong:
// another node leads in the end.
func (l *ledger) slowLeaderHandsOver() (broken []string) {
	for i := range l.history {
		e := &l.history[i]
		if e.Kind != Slowed || e.At-e.Began < int64(slowFor) || e.Note != e.Node {
			continue
		}
		alone := true
		for _, other := range l.history {
			if (other.Kind == Broken || other.Kind == Mended) && other.At > e.Began && other.At < e.At {
				alone = false
			}
		}
		if alone {
			broken = append(broken, fmt.Sprintf("%s has a slow disk from %s to %s and leads all the time", e.Node,
				seconds(e.Began), seconds(e.At)))
		}
	}
	return broken
}

func sortedNames(set map[string]bool) (names []string) {
	for name := range sorted(set) {
		names = append(names, name)
	}
	return names
}

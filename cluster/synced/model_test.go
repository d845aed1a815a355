package synced

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// This is a model of Raft with logs that are written in the background, small enough that
// every order of events is tried: a few terms, entries and crashes, on three nodes. An entry
// is the term in which it was appended, since a leader appends only one at each index.

const (
	modelNodes   = 3
	modelEntries = 2
)

// rules are what a node keeps to. Each of them can be left out.
type rules struct {
	applyBound  bool // a node applies what its own log is synced up to
	commitBound bool // a leader tells no commit index beyond what its own log is synced up to
	answerWaits bool // a follower answers once its log is synced up to the entries
	termFlushes bool // a term and a vote are stored after the log
}

func (r rules) String() string {
	var without []string
	for name, kept := range map[string]bool{
		"apply bound": r.applyBound, "commit bound": r.commitBound,
		"waiting answer": r.answerWaits, "flush before a term": r.termFlushes,
	} {
		if !kept {
			without = append(without, name)
		}
	}
	if len(without) == 0 {
		return "all rules"
	}
	slices.Sort(without)
	return "without " + strings.Join(without, ", ")
}

type role uint8

const (
	follower role = iota
	candidate
	leader
)

// modelNode is one node. What a crash takes is its role, what a candidate or a leader
// knows, its commit index, its answers that wait, and its log beyond synced.
type modelNode struct {
	term, vote uint8 // vote: 1 + node
	log        [modelEntries]uint8
	last       uint8 // entries in log
	synced     uint8 // of them on the disk
	applied    uint8
	role       role
	votes      uint8             // as a set of nodes
	match      [modelNodes]uint8 // as Raft has it: its own is last
	commit     uint8             // as Raft has it
	waiting    answers           // that wait for the disk
}

// answers of one node: a set of terms and indexes of entries.
type answers uint16

func answer(term, index uint8) answers { return 1 << ((term-1)*modelEntries + index - 1) }

type model struct {
	nodes   [modelNodes]modelNode
	sent    [modelNodes]answers // on their way, for ever
	applied [modelEntries]uint8 // the term of what was first applied at each index
	crashes uint8
}

// flush brings a node's log to the disk.
func (n *modelNode) flush() { n.synced = n.last }

// enter has a node enter a later term.
func (n *modelNode) enter(r rules, term uint8) {
	if r.termFlushes {
		n.flush()
	}
	n.term, n.vote, n.role, n.votes = term, 0, follower, 0
	n.match = [modelNodes]uint8{}
}

func (n *modelNode) lastTerm() uint8 {
	if n.last == 0 {
		return 0
	}
	return n.log[n.last-1]
}

// truncate drops a node's log behind the first entries. It waits for the disk.
func (n *modelNode) truncate(entries uint8) {
	n.last, n.synced = entries, min(n.synced, entries)
	for i := entries; i < modelEntries; i++ {
		n.log[i] = 0
	}
}

type limits struct{ entries, terms, crashes uint8 }

// next calls each with every state that may follow, and with what happened.
func (m model) next(r rules, l limits, each func(model, string)) {
	for i := range m.nodes {
		m.ofOne(r, l, i, func(next model, what string) { each(next, fmt.Sprintf("%s %d", what, i)) })
		for j := range m.nodes {
			if i != j {
				m.ofTwo(r, i, j, func(next model, what string) { each(next, fmt.Sprintf("%s %d %d", what, i, j)) })
			}
		}
	}
}

// ofOne are the steps of a node alone.
func (m model) ofOne(r rules, l limits, i int, each func(model, string)) {
	n := m.nodes[i]
	if n.term < l.terms && n.role != leader {
		next := m
		c := &next.nodes[i]
		c.enter(r, n.term+1)
		c.role, c.vote, c.votes = candidate, uint8(i)+1, 1<<i
		each(next, "stand")
	}
	if n.role == candidate && majority(n.votes) {
		next := m
		next.nodes[i].role = leader
		next.nodes[i].match[i] = n.last
		each(next, "lead")
	}
	if n.role == leader && n.last < l.entries {
		next := m
		c := &next.nodes[i]
		c.log[n.last] = n.term
		c.last++
		c.match[i] = c.last // Raft takes it for stored
		each(next, "append")
	}
	for synced := n.synced + 1; synced <= n.last; synced++ {
		next := m
		next.nodes[i].synced = synced
		each(next, fmt.Sprintf("sync to %d on", synced))
	}
	if n.applied < n.commit && (!r.applyBound || n.synced > n.applied) {
		next := m
		next.nodes[i].applied++
		if next.applied[n.applied] == 0 {
			next.applied[n.applied] = n.log[n.applied]
		}
		each(next, "apply")
	}
	for term := uint8(1); term <= l.terms; term++ {
		for index := uint8(1); index <= modelEntries; index++ {
			a := answer(term, index)
			// The answer leaves when no entry up to its own is unsynced.
			if n.waiting&a != 0 && (!r.answerWaits || n.synced >= min(index, n.last)) {
				next := m
				next.nodes[i].waiting &^= a
				next.sent[i] |= a
				each(next, "answer")
			}
		}
	}
	if m.crashes < l.crashes {
		next := m
		next.crashes++
		c := &next.nodes[i]
		c.truncate(n.synced)
		// What the state had applied beyond the log would be refused at the start.
		c.role, c.votes, c.match, c.commit, c.waiting = follower, 0, [modelNodes]uint8{}, 0, 0
		each(next, "crash")
	}
}

// ofTwo are the steps of i towards j.
func (m model) ofTwo(r rules, i, j int, each func(model, string)) {
	from, to := m.nodes[i], m.nodes[j]
	switch {
	case from.role == candidate && to.term <= from.term:
		next := m
		v := &next.nodes[j]
		if to.term < from.term {
			v.enter(r, from.term)
		}
		newer := from.lastTerm() > v.lastTerm() || from.lastTerm() == v.lastTerm() && from.last >= v.last
		if v.vote == 0 && newer {
			if r.termFlushes {
				v.flush()
			}
			v.vote = uint8(i) + 1
			next.nodes[i].votes |= 1 << j
		}
		each(next, "ask")
	case from.role == leader && to.term <= from.term:
		commit := from.commit
		if r.commitBound {
			commit = min(commit, from.synced)
		}
		next := m
		f := &next.nodes[j]
		if to.term < from.term {
			f.enter(r, from.term)
		}
		f.role, f.votes = follower, 0
		f.store(from.log[:from.last])
		if from.last > 0 {
			f.waiting |= answer(from.term, from.last)
		}
		f.commit = max(f.commit, commit)
		each(next, "send to")
	}
	if from.role == leader {
		for index := uint8(1); index <= modelEntries; index++ {
			if m.sent[j]&answer(from.term, index) != 0 && from.match[j] < index {
				next := m
				next.nodes[i].match[j] = index
				each(next, fmt.Sprintf("hear that %d is stored", index))
			}
		}
	}
}

// store is what a follower does with a leader's log: with less of it when Raft sends less.
func (n *modelNode) store(log []uint8) {
	for at := range log {
		if at < int(n.last) && n.log[at] == log[at] {
			continue
		}
		if at < int(n.last) {
			n.flush() // truncation waits for what is under way
			n.truncate(uint8(at))
		}
		n.log[at] = log[at]
		n.last = uint8(at) + 1
	}
}

func majority(set uint8) bool {
	count := 0
	for ; set > 0; set &= set - 1 {
		count++
	}
	return count > modelNodes/2
}

// check returns what is broken in a state, "" when nothing is.
func (m model) check() string {
	for at, term := range m.applied {
		if term == 0 {
			break
		}
		var stored uint8
		for i, n := range m.nodes {
			if int(n.applied) > at && n.log[at] != term && n.synced > uint8(at) {
				return fmt.Sprintf("node %d has another entry at %d than was applied", i, at+1)
			}
			if n.applied > n.synced {
				return fmt.Sprintf("the state of node %d is ahead of its log", i)
			}
			if int(n.synced) > at && n.log[at] == term {
				stored |= 1 << i
			}
			if int(n.applied) == at && n.commit > n.applied && int(n.last) > at && n.log[at] != term {
				return fmt.Sprintf("node %d is to apply another entry at %d", i, at+1)
			}
		}
		if !majority(stored) {
			return fmt.Sprintf("entry %d was applied and is not on the disks of a majority", at+1)
		}
	}
	return ""
}

// normal returns a state without what has no effect any more, and with its nodes in one
// order: they are interchangeable.
func (m model) normal() model {
	for i := range m.nodes {
		if n := &m.nodes[i]; n.role == leader {
			matches := n.match
			slices.Sort(matches[:])
			if at := matches[modelNodes/2]; at > n.commit && n.log[at-1] == n.term {
				n.commit = at
			}
		}
	}
	var heard answers // that a leader still waits for
	for _, n := range m.nodes {
		for index := uint8(1); n.role == leader && index <= modelEntries; index++ {
			heard |= answer(n.term, index)
		}
	}
	for i := range m.nodes {
		m.nodes[i].waiting &= heard
		m.sent[i] &= heard
		for _, n := range m.nodes {
			for index := uint8(1); n.role == leader && index <= n.match[i]; index++ {
				m.sent[i] &^= answer(n.term, index)
				m.nodes[i].waiting &^= answer(n.term, index)
			}
		}
	}
	least := m
	for _, order := range [][modelNodes]uint8{{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		if other := m.renamed(order); other.less(&least) {
			least = other
		}
	}
	return least
}

// renamed returns the state in which node order[i] is called i.
func (m model) renamed(order [modelNodes]uint8) model {
	r := m
	var name [modelNodes]uint8
	for to, from := range order {
		name[from] = uint8(to)
	}
	for to, from := range order {
		n := m.nodes[from]
		if n.vote > 0 {
			n.vote = name[n.vote-1] + 1
		}
		votes, match := n.votes, n.match
		n.votes = 0
		for i, to := range name {
			n.votes |= votes >> i & 1 << to
			n.match[to] = match[i]
		}
		r.nodes[to], r.sent[to] = n, m.sent[from]
	}
	return r
}

func (m *model) less(other *model) bool {
	for i := range m.nodes {
		if c := m.nodes[i].compare(&other.nodes[i]); c != 0 {
			return c < 0
		}
		if c := cmp.Compare(m.sent[i], other.sent[i]); c != 0 {
			return c < 0
		}
	}
	return false
}

func (n *modelNode) compare(o *modelNode) int {
	return cmp.Or(
		cmp.Compare(n.term, o.term), cmp.Compare(n.role, o.role), cmp.Compare(n.last, o.last),
		cmp.Compare(n.synced, o.synced), slices.Compare(n.log[:], o.log[:]), cmp.Compare(n.vote, o.vote),
		cmp.Compare(n.applied, o.applied), cmp.Compare(n.commit, o.commit), cmp.Compare(n.votes, o.votes),
		cmp.Compare(n.waiting, o.waiting), slices.Compare(n.match[:], o.match[:]))
}

// explore tries every order of events. It returns how many states there are, and the
// shortest way to one that is broken.
func explore(r rules, l limits) (states int, broken string, way []string) {
	all := []model{{}}
	from := []int{0}
	known := map[model]bool{{}: true}
	for at := 0; at < len(all); at++ {
		m := all[at]
		if broken = m.check(); broken != "" {
			for ; at > 0; at = from[at] {
				step := ""
				all[from[at]].next(r, l, func(next model, what string) {
					if step == "" && next.normal() == all[at] {
						step = what
					}
				})
				way = append(way, step)
			}
			slices.Reverse(way)
			return len(all), broken, way
		}
		m.next(r, l, func(next model, _ string) {
			if next = next.normal(); !known[next] {
				known[next] = true
				all, from = append(all, next), append(from, at)
			}
		})
	}
	return len(all), "", nil
}

// TestTheModelIsSafe tries every order of events of the model, and shows which rules are
// needed.
func TestTheModelIsSafe(t *testing.T) {
	all := rules{applyBound: true, commitBound: true, answerWaits: true, termFlushes: true}
	bounds := []limits{{entries: 1, terms: 2, crashes: 2}}
	if os.Getenv("APTLYD_LONG") != "" {
		bounds = append(bounds, limits{entries: 2, terms: 2, crashes: 1}, limits{entries: 1, terms: 3, crashes: 2})
	}
	for _, l := range bounds {
		states, broken, way := explore(all, l)
		t.Logf("%+v, %v: %d states", l, all, states)
		if broken != "" {
			t.Fatalf("%s after %s", broken, strings.Join(way, ", "))
		}
	}
	for _, leave := range []func(*rules){
		func(r *rules) { r.applyBound = false },
		func(r *rules) { r.commitBound = false },
		func(r *rules) { r.answerWaits = false },
	} {
		r := all
		leave(&r)
		_, broken, way := explore(r, bounds[0])
		t.Logf("%v: %s after %s", r, broken, strings.Join(way, ", "))
		if broken == "" {
			t.Errorf("%v nothing is broken", r)
		}
	}
}

// TestTheModelWithoutFlushes: that a term is stored behind the log makes it simple to argue
// for the rest, which does without.
func TestTheModelWithoutFlushes(t *testing.T) {
	r := rules{applyBound: true, commitBound: true, answerWaits: true}
	if _, broken, way := explore(r, limits{entries: 1, terms: 2, crashes: 2}); broken != "" {
		t.Errorf("%s after %s", broken, strings.Join(way, ", "))
	}
}

package presence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/presence"
)

const grace = 3 * time.Second

var errLost = errors.New("lost")

// simulation is a cluster of nodes on a clock of its own. Nodes hear each other through links
// that can be cut one way, and a leader that hears the nodes that reach it.
type simulation struct {
	t      *testing.T
	chance *rand.Rand
	now    time.Time
	began  time.Time
	nodes  []*simNode
	cut    map[[2]int]bool // from, to
	users  []*simUser
	boots  uint64
	leader int  // -1: none
	calm   bool // nothing was wrong since all nodes agreed
	ledAt  time.Time
	heard  map[int]time.Time // by the leader

	trace []string
}

type simNode struct {
	sim     *simulation
	index   int
	id      string
	up      bool
	stopped bool // SIGSTOP
	members *presence.Members
	links   map[int]*simLink
	fresh   time.Time            // the last proof
	heard   map[uint64]time.Time // when it took something last from each process
	watch   map[fsm.ChannelKey]*watcher
}

type simLink struct {
	link
	due time.Time
}

// watcher is a client of a node that applies what it is told.
type watcher struct {
	version uint64
	members map[string]presence.Member
	shown   map[string]time.Time // since when it has each
}

// simUser is a user with at most some connections.
type simUser struct {
	id    string
	conns []*simConn
	seen  time.Time // when it last had a connection that the server knew, or was within its grace
	left  bool      // it said so with its last connection
	quit  time.Time // when it last said so of any
	free  time.Time // when it was last no member for sure
	last  simEnter  // the latest
	said  int       // its data: 1, 2, …
}

// simEnter is where and when a user entered.
type simEnter struct {
	node *simNode
	boot uint64
	at   time.Time
}

type simConn struct {
	node *simNode
	boot uint64
	room fsm.ChannelKey
}

var room = fsm.ChannelKey{Project: "p", Name: "room"}

func newSimulation(t *testing.T, seed uint64, n int) *simulation {
	s := &simulation{
		t: t, chance: rand.New(rand.NewPCG(seed, 7)), now: time.UnixMilli(1_764_000_000_000),
		cut: make(map[[2]int]bool), heard: make(map[int]time.Time),
	}
	s.began = s.now
	for i := range n {
		s.nodes = append(s.nodes, &simNode{sim: s, index: i, id: fmt.Sprint("node", i)})
		s.boot(s.nodes[i])
	}
	for i := range 12 {
		s.users = append(s.users, &simUser{id: fmt.Sprint("user", i)})
	}
	s.ledAt = s.now
	return s
}

func (s *simulation) log(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%6.2f ", s.now.Sub(s.began).Seconds())+fmt.Sprintf(format, args...))
}

func (s *simulation) fail(format string, args ...any) {
	s.t.Helper()
	for _, line := range s.trace[max(0, len(s.trace)-120):] {
		s.t.Log(line)
	}
	s.t.Fatalf("%.2f: "+format, append([]any{s.now.Sub(s.began).Seconds()}, args...)...)
}

func (s *simulation) boot(n *simNode) {
	s.boots++
	n.up, n.stopped, n.fresh = true, false, time.Time{}
	n.members = presence.New(presence.Config{
		Changed: func() {},
		Rule: func(fsm.ChannelKey) fsm.Presence {
			return fsm.Presence{Grace: grace, MaxMembers: 1000, DataBytes: 100}
		},
	})
	n.members.Begin(n.id, s.boots)
	n.links = make(map[int]*simLink)
	for j := range s.nodes {
		if j != n.index {
			n.links[j] = &simLink{link: link{members: n.members}}
		}
	}
	for _, other := range s.nodes {
		if other != n && other.links != nil && other.links[n.index] == nil {
			other.links[n.index] = &simLink{link: link{members: other.members}}
		}
	}
	n.watch, n.heard = map[fsm.ChannelKey]*watcher{}, make(map[uint64]time.Time)
}

func (s *simulation) reaches(from, to int) bool {
	a, b := s.nodes[from], s.nodes[to]
	return from == to || !s.cut[[2]int{from, to}] && a.up && b.up && !a.stopped && !b.stopped
}

// step lets so much time pass.
func (s *simulation) step(d time.Duration) {
	s.now = s.now.Add(d)
	s.elect()
	for _, u := range s.users {
		if len(u.conns) == 0 && (u.left || s.now.Sub(u.seen) >= grace) {
			u.free = s.now
		}
	}
	for _, n := range s.nodes {
		if n.up && !n.stopped {
			n.run()
		}
	}
}

// elect gives the cluster a leader that reaches a majority both ways, some time after the
// last one was lost.
func (s *simulation) elect() {
	supported := func(i int) bool {
		n := 0
		for j := range s.nodes {
			if s.nodes[j].up && !s.nodes[j].stopped && s.reaches(i, j) && s.reaches(j, i) {
				n++
			}
		}
		return n > len(s.nodes)/2 && s.nodes[i].up && !s.nodes[i].stopped
	}
	if s.leader >= 0 && supported(s.leader) {
		return
	}
	if s.leader >= 0 {
		s.log("node%d leads no more", s.leader)
		s.leader, s.ledAt = -1, s.now
	}
	if s.now.Sub(s.ledAt) < 1500*time.Millisecond {
		return
	}
	for _, i := range s.chance.Perm(len(s.nodes)) {
		if supported(i) {
			s.leader, s.ledAt = i, s.now
			s.log("node%d leads", i)
			return
		}
	}
}

func (n *simNode) stale() time.Duration { return n.sim.now.Sub(n.fresh) }

// servedUntil returns when the node served its clients last, now that they are cut off. One that
// was stopped served them no longer than it would have served them cut off.
func (n *simNode) servedUntil() time.Time {
	if until := n.fresh.Add(9 * time.Second); n.stopped && until.Before(n.sim.now) {
		return until
	}
	return n.sim.now
}

// run does what a node does in one step.
func (n *simNode) run() {
	s := n.sim
	// A question to the leader, which proves freshness and brings what it heard.
	if l := s.leader; l >= 0 && s.reaches(n.index, l) {
		s.heard[n.index] = s.now
		if s.reaches(l, n.index) {
			n.fresh = s.now
			silence := make(map[string]time.Duration)
			for j, other := range s.nodes {
				if j == n.index {
					continue
				}
				silence[other.id] = 0
				age, led := s.now.Sub(s.heard[j]), s.now.Sub(s.ledAt)
				if min(age, led) >= 10*time.Second {
					silence[other.id] = age
				}
			}
			n.members.SetNodes(silence, s.now)
		}
	}
	if n.stale() > 9*time.Second {
		s.dropClients(n, "stale")
	}
	n.members.Tick(s.now)
	for j := range s.nodes {
		l := n.links[j]
		if l == nil || n.stale() > 6*time.Second {
			continue
		}
		for range 20 {
			idle := l.known && l.number == n.members.Number()
			if idle && s.now.Before(l.due) {
				break
			}
			l.due = s.now.Add(Beat)
			m := l.next(s.now)
			var answer presence.Answer
			err := errLost
			if s.reaches(n.index, j) && s.chance.IntN(50) > 0 {
				raw, decodeErr := decode(encode(m))
				if decodeErr != nil {
					s.fail("decode: %v", decodeErr)
				}
				answer = s.nodes[j].members.Take(n.id, raw, s.now)
				s.nodes[j].heard[m.Boot] = s.now
				if s.reaches(j, n.index) && s.chance.IntN(50) > 0 {
					err = nil
				}
			}
			more := l.answered(m, answer, err, s.now)
			l.release(l.lost(s.now))
			if err != nil {
				l.due = s.now.Add(retryPause)
				break
			}
			if !more {
				break
			}
		}
	}
	n.serveWatcher()
}

// awaited reports whether every peer has taken all changes, or is waited for no more.
func (n *simNode) awaited(number uint64) bool {
	for _, l := range n.links {
		if (!l.known || l.number < number) && !l.lost(n.sim.now) {
			return false
		}
	}
	return true
}

func (s *simulation) dropClients(n *simNode, why string) {
	for _, u := range s.users {
		for i, conn := range slices.Backward(u.conns) {
			if conn.node == n {
				s.log("%s is cut off at %s: %s", u.id, n.id, why)
				n.members.Break(room, u.id, s.now.Add(grace), s.now)
				s.drop(u, i, n.servedUntil())
			}
		}
	}
	for key := range n.watch { // its watchers are clients, too
		n.members.Unwatch(key)
		delete(n.watch, key)
	}
}

// drop forgets a connection that was served until then; the server may not know that yet.
func (s *simulation) drop(u *simUser, i int, served time.Time) {
	u.left = false
	if served.After(u.seen) {
		u.seen = served
	}
	u.conns = slices.Delete(u.conns, i, i+1)
}

// serveWatcher has a client of the node apply what it is told, and checks it.
func (n *simNode) serveWatcher() {
	s := n.sim
	w := n.watch[room]
	if w == nil {
		if n.stale() > 6*time.Second || !n.members.Complete(s.now) {
			return // what it knows may be old
		}
		n.members.Watch(room)
		w = &watcher{}
		n.watch[room] = w
		w.sync(s, n)
	}
	all, _, _ := n.members.Flush(s.now)
	for _, d := range all {
		if d.Version != w.version+1 {
			s.fail("%s: difference %d follows %d", n.id, d.Version, w.version)
		}
		w.version = d.Version
		for _, m := range d.Entered {
			if _, is := w.members[m.ID]; is {
				s.fail("%s: %s entered twice", n.id, m.ID)
			}
			w.members[m.ID], w.shown[m.ID] = m, s.now
			s.log("%s: %s entered", n.id, m.ID)
		}
		for _, m := range d.Updated {
			was, is := w.members[m.ID]
			back := s.calm && len(m.Data) <= len(was.Data) && m.Data < was.Data
			if !is || was.Data == m.Data || back {
				s.fail("%s: %s is updated from %+v to %+v", n.id, m.ID, was, m)
			}
			w.members[m.ID] = m
		}
		for _, m := range d.Left {
			if _, is := w.members[m.ID]; !is {
				s.fail("%s: %s left and was not there", n.id, m.ID)
			}
			delete(w.members, m.ID)
			s.log("%s: %s left: %s", n.id, m.ID, m.Reason)
			s.checkLeft(n, m, w.shown[m.ID])
		}
		if d.Count != len(w.members) {
			s.fail("%s: count %d of %d", n.id, d.Count, len(w.members))
		}
	}
}

func (w *watcher) sync(s *simulation, n *simNode) {
	members, version, _ := n.members.Sync(room)
	w.version, w.members, w.shown = version, make(map[string]presence.Member), make(map[string]time.Time)
	for _, m := range members {
		if _, is := w.members[m.ID]; is {
			s.fail("%s is twice in a sync of %s", m.ID, n.id)
		}
		w.members[m.ID], w.shown[m.ID] = m, s.now
	}
}

// checkLeft fails when somebody is said to have left who is there, or was within the grace.
func (s *simulation) checkLeft(n *simNode, gone presence.Gone, shown time.Time) {
	for _, u := range s.users {
		if u.id != gone.ID || u.free.After(shown.Add(-time.Second/2)) {
			continue
		}
		for _, c := range u.conns {
			if c.node.up && !c.node.stopped && c.boot == c.node.members.Boot() {
				s.fail("%s says that %s left (%s), which is connected to %s", n.id, u.id, gone.Reason, c.node.id)
			}
		}
		quit := gone.Reason == presence.Left && s.now.Sub(u.quit) < grace
		if u.diedUnheard(n) {
			continue // given up, see docs/design.md
		}
		if !u.left && !quit && len(u.conns) == 0 && s.now.Sub(u.seen) < grace-time.Second/2 {
			s.fail("%s says that %s left (%s), which broke %s ago", n.id, u.id, gone.Reason, s.now.Sub(u.seen))
		}
	}
}

// diedUnheard reports whether the process where the user entered last is gone, and a node has not
// heard of that.
func (u *simUser) diedUnheard(n *simNode) bool {
	at := u.last.node
	return (!at.up || at.members.Boot() != u.last.boot) && !n.heard[u.last.boot].After(u.last.at)
}

// act does something by chance.
func (s *simulation) act(faults bool) {
	n := s.nodes[s.chance.IntN(len(s.nodes))]
	switch s.chance.IntN(24) {
	case 0:
		if faults && n.up {
			s.log("kill -9 %s", n.id)
			s.kill(n)
		}
	case 1:
		if !n.up {
			s.log("%s starts", n.id)
			s.boot(n)
		}
	case 2:
		if faults && n.up {
			s.log("%s stopped: %v", n.id, !n.stopped)
			if n.stopped {
				n.goOn()
			} else {
				n.stopped = true
			}
		}
	case 3, 4:
		if faults {
			a, b := s.chance.IntN(len(s.nodes)), s.chance.IntN(len(s.nodes))
			s.cut[[2]int{a, b}] = !s.cut[[2]int{a, b}]
			if s.chance.IntN(2) == 0 {
				s.cut[[2]int{b, a}] = s.cut[[2]int{a, b}]
			}
			s.log("%d to %d cut: %v, back: %v", a, b, s.cut[[2]int{a, b}], s.cut[[2]int{b, a}])
		}
	case 5:
		if faults && s.chance.IntN(3) == 0 {
			clear(s.cut)
			s.log("all links work")
		}
	default:
		s.actUser(s.users[s.chance.IntN(len(s.users))], n)
	}
}

func (s *simulation) kill(n *simNode) {
	served := n.servedUntil()
	n.up, n.stopped, n.links, n.watch = false, false, nil, nil
	for _, u := range s.users {
		for i, conn := range slices.Backward(u.conns) {
			if conn.node == n {
				s.drop(u, i, served)
			}
		}
	}
}

// goOn ends a stop.
func (n *simNode) goOn() {
	if n.stale() > 9*time.Second {
		n.sim.dropClients(n, "was stopped")
	}
	n.stopped = false
}

func (s *simulation) takes(n *simNode) bool {
	return n.up && !n.stopped && n.stale() < 6*time.Second
}

func (s *simulation) actUser(u *simUser, n *simNode) {
	switch s.chance.IntN(6) {
	case 0, 1: // enters with another connection
		if len(u.conns) < 3 && s.takes(n) {
			s.enter(u, n)
		}
	case 2: // a connection breaks
		if i := len(u.conns) - 1; i >= 0 && s.takes(u.conns[i].node) {
			c := u.conns[i]
			s.log("%s breaks at %s", u.id, c.node.id)
			c.node.members.Break(room, u.id, s.now.Add(grace), s.now)
			s.drop(u, i, s.now)
		}
	case 3: // leaves
		if i := len(u.conns) - 1; i >= 0 && s.takes(u.conns[i].node) {
			c := u.conns[i]
			s.log("%s leaves at %s", u.id, c.node.id)
			c.node.members.Leave(room, u.id, s.now)
			u.conns, u.quit = u.conns[:i], s.now
			if i == 0 {
				u.left, u.free = true, s.now
			}
		}
	case 4: // updates
		if i := len(u.conns); i > 0 && s.takes(u.conns[s.chance.IntN(i)].node) {
			s.update(u, u.conns[s.chance.IntN(i)].node)
		}
	case 5: // moves: enters elsewhere and leaves here once that is known
		if len(u.conns) == 0 || !s.takes(n) || !s.takes(u.conns[0].node) {
			return
		}
		old := u.conns[0]
		number := s.enter(u, n)
		for range 40 {
			if n.awaited(number) {
				break
			}
			s.step(50 * time.Millisecond)
			if !slices.Contains(u.conns, old) || !s.takes(n) || !s.takes(old.node) {
				return
			}
		}
		if i := slices.Index(u.conns, old); i >= 0 && n.awaited(number) && len(u.conns) > 1 {
			s.log("%s leaves %s after it moved", u.id, old.node.id)
			old.node.members.Leave(room, u.id, s.now)
			u.conns, u.quit = slices.Delete(u.conns, i, i+1), s.now
		}
	}
}

func (s *simulation) enter(u *simUser, n *simNode) uint64 {
	s.log("%s enters at %s", u.id, n.id)
	u.left, u.last = false, simEnter{n, n.members.Boot(), s.now}
	u.conns = append(u.conns, &simConn{node: n, boot: n.members.Boot(), room: room})
	if s.chance.IntN(3) == 0 {
		u.said++
	}
	s.now = s.now.Add(time.Millisecond) // the latest data is that of the latest clock
	return n.members.Enter(room, u.id, fmt.Sprint(u.said), s.now)
}

func (s *simulation) update(u *simUser, n *simNode) {
	if !s.takes(n) {
		return
	}
	u.said++
	s.log("%s says %d at %s", u.id, u.said, n.id)
	s.now = s.now.Add(time.Millisecond)
	n.members.Update(room, u.id, fmt.Sprint(u.said), s.now)
}

// heal ends all faults and waits until every view must be right.
func (s *simulation) heal() {
	s.log("all faults end")
	clear(s.cut)
	for _, n := range s.nodes {
		switch {
		case !n.up:
			s.boot(n)
		case n.stopped:
			n.goOn()
		}
	}
	for end := s.now.Add(grace + 15*time.Second); s.now.Before(end); {
		s.step(50 * time.Millisecond)
	}
}

// complete reports whether every node knows every slice.
func (s *simulation) complete() bool {
	return !slices.ContainsFunc(s.nodes, func(n *simNode) bool { return !n.members.Complete(s.now) })
}

// checkAgreed compares each view with what clients say.
func (s *simulation) checkAgreed() {
	// Some messages are lost at any time.
	for tries := 0; tries < 40 && !s.complete(); tries++ {
		s.step(50 * time.Millisecond)
	}
	want, said := make(map[string]int), make(map[string]string)
	for _, u := range s.users {
		if said[u.id] = fmt.Sprint(u.said); len(u.conns) > 0 {
			want[u.id] = len(u.conns)
		}
	}
	var first []presence.Member
	for _, n := range s.nodes {
		list, _ := n.members.List(room, "", 1000)
		for _, m := range list {
			if want[m.ID] != m.Connections {
				s.fail("%s: %s has %d connections, want %d", n.id, m.ID, m.Connections, want[m.ID])
			}
			if s.calm && m.Data != said[m.ID] {
				s.fail("%s: %s has the data %s, want %s", n.id, m.ID, m.Data, said[m.ID])
			}
			if len(n.watch[room].members) != len(list) || n.watch[room].members[m.ID].Data != m.Data {
				s.fail("%s: a watcher has %v, the node %v", n.id, n.watch[room].members, list)
			}
		}
		if len(list) != len(want) {
			s.fail("%s has %d members, want %d: %v", n.id, len(list), len(want), list)
		}
		if first == nil {
			first = list
		}
		if !slices.Equal(first, list) {
			s.fail("%s has %v, another node %v", n.id, list, first)
		}
		if !n.members.Complete(s.now) {
			s.fail("%s does not know every slice", n.id)
		}
	}
}

// After any faults, every node says of every channel what connected clients say, and nobody
// was said to have left who had not.
func TestMembersThroughFaults(t *testing.T) {
	seeds := uint64(30)
	if os.Getenv("APTLYD_LONG") != "" {
		seeds = 1000
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newSimulation(t, seed, 3+2*int(seed%2))
			for round := range 3 {
				s.calm = round == 2
				for range 300 {
					s.act(round < 2)
					for range s.chance.IntN(12) {
						s.step(50 * time.Millisecond)
					}
				}
				s.heal()
				s.checkAgreed()
			}
		})
	}
}

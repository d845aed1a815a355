package presence

import (
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

const (
	// currentFor is how long a slice counts as known after its node was heard. It is
	// below the time after which that node waits for this one no more.
	currentFor = 1500 * time.Millisecond
	// deadAfter is the silence after which the leader's word ends a slice. A node that is
	// cut off has closed its clients before.
	deadAfter = 10 * time.Second
	// backAfter is how much later this node hears of one that is back than another node at
	// the latest, and that the leader hears it.
	backAfter = 5 * time.Second
	// closedAfter is the silence after which a node has closed its clients at the latest.
	closedAfter = 9 * time.Second
	// maxLog bounds the changes of the own slice that are kept. A node that missed more is
	// told everything anew.
	maxLog = 1 << 16
)

// slice is the part of the view that one node owns.
type slice struct {
	node     string
	boot     uint64
	number   uint64 // of the last change
	complete bool   // everything up to number is known
	deaf     bool   // it does not hear this node's answers
	heard    time.Time
	silence  time.Duration // as the leader said last, 0 while it hears the node
	leftAt   time.Time     // when it was seen to be no member of the cluster; zero: it is one
	began    time.Time     // when this process of the node followed another; zero: none was known

	// While everything is told anew.
	filling  uint64 // number that it had when that began; valid with piece > 0
	piece    int
	round    uint32
	orphaned bool // parts of an earlier process are left
}

// Change is one change of a slice: the number of subscribers of a channel when ID is empty,
// or else a member's part.
type Change struct {
	Channel     fsm.ChannelKey
	ID          string
	Subscribers int

	Gone   bool
	Reason Reason
	// After says what the owner knew of the member on other nodes when it removed it. A
	// node that knows less waits with the removal.
	After []Ref

	Connections int
	Since       int64
	At          int64
	Data        string // of one that is gone: what was last, for other nodes that have the member
}

// Ref is a place in the numbered changes of a slice.
type Ref struct {
	Node         string
	Boot, Number uint64
}

// Message tells a part of a slice: the changes after From up to To, or one piece of
// everything as of To.
type Message struct {
	Boot     uint64
	From, To uint64
	Piece    int // from 1 where everything is told; 0 for changes
	Last     bool
	// Unanswered says that the sender has heard no answer for a while. It is about to wait for
	// this node no more, which must not take what it knows for all there is.
	Unanswered bool
	Changes    []Change
}

// Answer says whether a message was taken. If not, everything has to be told anew.
type Answer struct {
	Taken  bool
	Number uint64 // up to which the slice is known
}

// logEntry is one change of the own slice. Its content is looked up when it is told, except
// that of a removal.
type logEntry struct {
	channel fsm.ChannelKey
	id      string
	gone    *Change
}

// heldRemoval is a removal that waits until this node knows as much of the member as its
// owner did. Without it a member that moves could seem to be gone for a moment.
type heldRemoval struct {
	channel fsm.ChannelKey
	id      string
	owner   *slice
	reason  Reason
	after   []Ref
	since   time.Time // when it was told
}

// known returns the number up to which the slice is known, or will be.
func (s *slice) known() uint64 {
	if s.piece > 0 {
		return s.filling
	}
	return s.number
}

func (m *Members) record(key fsm.ChannelKey, id string) { m.append(logEntry{channel: key, id: id}) }

func (m *Members) append(e logEntry) {
	m.own.number++
	if len(m.log) >= maxLog {
		m.log = slices.Clone(m.log[maxLog/2:])
	}
	m.log = append(m.log, e)
	m.cfg.Changed()
}

// Boot returns what tells this process from earlier ones of the node.
func (m *Members) Boot() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own.boot
}

// Number returns the number of the last change of the own slice.
func (m *Members) Number() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own.number
}

// Changes returns at most limit changes of the own slice after a number, and up to which
// number these reach. ok is false when they are not kept any more.
func (m *Members) Changes(after uint64, limit int) (changes []Change, upTo uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.own.number - uint64(len(m.log)) // the change before the log
	if after < first || after > m.own.number {
		return nil, 0, false
	}
	entries := m.log[after-first:]
	entries = entries[:min(limit, len(entries))]
	told := make(map[logEntry]bool, len(entries))
	for _, e := range slices.Backward(entries) {
		if c, is := m.tell(e); is && !told[logEntry{channel: e.channel, id: e.id}] {
			told[logEntry{channel: e.channel, id: e.id}] = true
			changes = append(changes, c)
		}
	}
	slices.Reverse(changes)
	return changes, after + uint64(len(entries)), true
}

// tell returns the content of a change as it is now. What is overtaken by a later change is
// left out.
func (m *Members) tell(e logEntry) (c Change, is bool) {
	ch := m.channels[e.channel]
	if e.id == "" {
		c = Change{Channel: e.channel}
		if ch != nil {
			c.Subscribers = ch.subscribers
		}
		return c, true
	}
	var p *part
	if mem := ch.has(e.id); mem != nil {
		p = mem.find(m.own)
	}
	if e.gone != nil {
		return *e.gone, p == nil
	}
	if p == nil {
		return c, false
	}
	return Change{
		Channel: e.channel, ID: e.id, Connections: int(p.connections), Since: p.since, At: p.at, Data: p.data,
	}, true
}

// Forget drops kept changes up to a number.
func (m *Members) Forget(upTo uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.own.number - uint64(len(m.log))
	if upTo <= first {
		return
	}
	n := min(upTo-first, uint64(len(m.log)))
	if m.log = m.log[n:]; len(m.log) == 0 {
		m.log = nil
	}
}

// Everything lists what the own slice has, for Describe, and the number of its last change.
func (m *Members) Everything() (places []Place, number uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, ch := range m.channels {
		if ch.subscribers > 0 {
			places = append(places, Place{key, ""})
		}
		for mem := range ch.members.all() {
			if mem.find(m.own) != nil {
				places = append(places, Place{key, mem.id})
			}
		}
	}
	return places, m.own.number
}

// Place is a member of a channel, or the channel's number of subscribers when ID is empty.
type Place struct {
	Channel fsm.ChannelKey
	ID      string
}

// Describe returns what the own slice has at places now.
func (m *Members) Describe(places []Place) (changes []Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range places {
		if c, is := m.tell(logEntry{channel: p.Channel, id: p.ID}); is {
			changes = append(changes, c)
		}
	}
	return changes
}

// Take takes in what another node tells of its slice.
func (m *Members) Take(node string, msg Message, now time.Time) Answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slices[node]
	if s == nil {
		s = &slice{node: node}
		m.slices[node] = s
	}
	switch {
	case msg.Boot < s.boot, node == m.own.node:
		return Answer{}
	case msg.Piece == 1:
		m.begin(s, msg, now)
	case msg.Boot != s.boot:
		return Answer{}
	case msg.Piece > 1:
		if msg.To != s.filling || msg.Piece > s.piece+1 || s.piece == 0 {
			return Answer{Number: s.number}
		}
		s.piece = msg.Piece
	case !s.complete || msg.From > s.number:
		return Answer{Number: s.number}
	}
	s.heard, s.silence, s.deaf = now, 0, msg.Unanswered
	if msg.Piece == 0 {
		s.number = max(s.number, msg.To) // own removals refer to it
	}
	for i := range msg.Changes {
		m.apply(s, &msg.Changes[i], now)
	}
	if msg.Last {
		s.number, s.complete, s.piece = msg.To, true, 0
		m.dropUntold(s)
	}
	m.tryHeld(now)
	return Answer{Taken: true, Number: s.number}
}

// begin prepares a slice for being told anew. The members of an earlier process of the node
// get their grace: their clients have lost that process just now.
func (m *Members) begin(s *slice, msg Message, now time.Time) {
	if s.boot != 0 {
		m.forgetSubscribers(s) // only channels that have some are told
	}
	if msg.Boot != s.boot && s.boot != 0 {
		s.began = now
		m.orphan(s, now)
	}
	s.boot, s.complete = msg.Boot, false
	s.filling, s.piece = msg.To, 1
	s.round++
}

// apply applies one change of another node's slice.
func (m *Members) apply(s *slice, c *Change, now time.Time) {
	if c.ID == "" {
		ch := m.channel(c.Channel)
		if c.Subscribers == 0 {
			delete(ch.elsewhere, s)
		} else {
			if ch.elsewhere == nil {
				ch.elsewhere = make(map[*slice]int, 1)
			}
			ch.elsewhere[s] = c.Subscribers
		}
		m.numbersChanged(ch)
		m.prune(ch)
		return
	}
	if c.Gone {
		m.remove(s, c, now)
		return
	}
	ch := m.channel(c.Channel)
	mem := ch.member(c.ID)
	m.touch(ch, mem)
	p := mem.find(s)
	if p == nil {
		mem.parts = append(mem.parts, part{owner: s})
		p = &mem.parts[len(mem.parts)-1]
	}
	came := int32(c.Connections) > p.connections
	*p = part{
		owner: s, since: c.Since, at: c.At, data: c.Data, connections: int32(c.Connections), round: s.round,
	}
	if came {
		m.dropReplaced(ch, mem)
		// The member has come back there: this node need not wait for it any more.
		if own := mem.find(m.own); own != nil && own.connections == 0 && own.until > now.UnixMilli() {
			m.removeOwn(ch, mem, Left)
		}
	}
	m.settle(ch, mem, Left)
}

// remove removes the part of a member that its owner has removed, at once or when this node
// knows enough of the others.
func (m *Members) remove(s *slice, c *Change, now time.Time) {
	ch := m.channels[c.Channel]
	mem := ch.has(c.ID)
	if mem == nil {
		return
	}
	p := mem.find(s)
	if p == nil || p.orphan {
		m.takeOver(ch, mem, c) // it came and went before that was told
		return
	}
	if c.At > p.at { // of a change that was left out, since this one followed
		m.touch(ch, mem)
		p.at, p.data = c.At, c.Data
		m.settle(ch, mem, c.Reason)
	}
	h := heldRemoval{c.Channel, c.ID, s, c.Reason, c.After, now}
	if !m.knows(&h, now) {
		p.held = true
		m.held = append(m.held, h)
		return
	}
	m.touch(ch, mem)
	m.removePart(ch, mem, s, c.Reason)
}

// knows reports whether this node has taken the changes that a removal names. It need not know
// those of nodes that have been gone for so long that their members have left. But such a node
// may just be back, and the one that tells of the removal has heard it first: so it is waited
// for a while.
func (m *Members) knows(h *heldRemoval, now time.Time) bool {
	grace := m.cfg.Rule(h.channel).Grace
	for _, r := range h.after {
		if r.Node == m.own.node {
			continue
		}
		s := m.slices[r.Node]
		if s == nil {
			if m.nodes[r.Node] {
				return false
			}
			continue
		}
		over := s.boot == r.Boot && s.gone(now) >= max(deadAfter, closedAfter+grace) && now.Sub(h.since) >= backAfter
		if s.boot < r.Boot || s.boot == r.Boot && (s.number < r.Number || !s.complete) && !over {
			return false
		}
	}
	return true
}

func (m *Members) tryHeld(now time.Time) {
	if len(m.held) == 0 {
		return
	}
	waiting := m.held
	m.held = nil
	for _, h := range waiting {
		ch := m.channels[h.channel]
		mem := ch.has(h.id)
		if mem == nil {
			continue
		}
		p := mem.find(h.owner)
		switch {
		case p == nil || !p.held: // told anew meanwhile
		case m.knows(&h, now):
			m.touch(ch, mem)
			m.removePart(ch, mem, h.owner, h.reason)
		default:
			m.held = append(m.held, h)
		}
	}
}

// each calls do for every part of an owner. do may remove it.
func (m *Members) each(s *slice, do func(ch *channel, mem *member, p *part)) {
	for _, ch := range m.channels {
		for mem := range ch.members.all() {
			if p := mem.find(s); p != nil {
				do(ch, mem, p)
			}
		}
	}
}

// dropUntold removes what a slice had before it was told anew and has no more.
func (m *Members) dropUntold(s *slice) {
	m.each(s, func(ch *channel, mem *member, p *part) {
		if p.round != s.round && !p.orphan {
			m.touch(ch, mem)
			m.removePart(ch, mem, s, Left)
		}
	})
}

// orphan gives the parts of a process that is gone their grace.
func (m *Members) orphan(s *slice, now time.Time) {
	s.orphaned = true
	m.each(s, func(ch *channel, mem *member, p *part) {
		if p.orphan {
			return
		}
		p.orphan, p.connections, p.reason = true, 0, NodeDied
		p.until = now.Add(m.cfg.Rule(ch.key).Grace).UnixMilli()
		if mem.connections() > 0 {
			m.touch(ch, mem)
			m.removePart(ch, mem, s, NodeDied)
		}
	})
}

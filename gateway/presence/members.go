// Package presence knows who the members of channels are: those with connections on this
// node, those that other nodes tell of, and what changes in the view of both. It knows
// nothing of sockets, of frames, or of how one node reaches another. The time is given to it.
package presence

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// Reason says why a member left.
type Reason uint8

// The reasons.
const (
	Left     Reason = iota // it said so
	TimedOut               // its connection broke and it did not come back within the grace
	NodeDied               // its node died, or was taken out of the cluster
)

// String implements fmt.Stringer.
func (r Reason) String() string { return [...]string{"left", "timeout", "node"}[r] }

// Member is a member of a channel as clients see it.
type Member struct {
	ID          string
	Data        string // one JSON value
	Since       int64  // Unix ms
	Connections int    // 0 within the grace
}

// Config says what Members may ask.
type Config struct {
	// Rule returns how the members of a channel are kept.
	Rule func(fsm.ChannelKey) fsm.Presence
	// Changed is called when Flush or the other nodes may have something new. It must
	// not block or call back.
	Changed func()
}

// Members is the view that one node has of all members. Each node owns the part of it that
// stands for its own connections, its slice, and tells the others the numbered changes of
// it. All methods may be called from any goroutine.
type Members struct {
	cfg Config

	mu       sync.Mutex
	channels map[fsm.ChannelKey]*channel
	projects map[string]int // members of each project
	total    int
	own      *slice
	slices   map[string]*slice // of the other nodes, by node
	nodes    map[string]bool   // the other nodes of the cluster
	log      []logEntry        // the last changes of the own slice
	timers   timers
	ended    time.Time // when endSlices last looked at the members
	held     []heldRemoval
	last     map[*member]lastData
	due      map[*channel]struct{} // has something for Flush
	stats    Stats
}

// Stats counts what happened since the process began.
type Stats struct {
	Entered uint64
	Left    [NodeDied + 1]uint64 // by reason
}

// channel is a channel that has members, watchers or a known number of subscribers.
type channel struct {
	key         fsm.ChannelKey
	members     memberSet
	count       int            // of the members that are shown
	subscribers int            // on this node
	elsewhere   map[*slice]int // subscribers on other nodes

	watchers  int
	version   uint64            // differences so far
	dirty     map[string]before // not yet in a difference
	flushedAt int64
	large     bool // watchers get numbers
	toldAt    int64
	recount   bool // the numbers have changed
}

// member is one user in one channel.
type member struct {
	id    string
	parts []part // of the nodes that have connections of it
	shown bool
}

// part is what one node knows of a member.
type part struct {
	owner       *slice
	since       int64 // Unix ms
	at          int64 // of the latest enter or update
	data        string
	until       int64 // Unix ms at which a part without connections ends; 0 is not known here
	connections int32
	round       uint32 // in which it was last told, of a part of another node
	reason      Reason // for which it ends
	orphan      bool   // its process is gone
	held        bool   // it was removed, see heldRemoval
}

// before is what watchers were last told of a member.
type before struct {
	shown  bool
	member Member
	reason Reason // of the latest removal
}

// New returns a view without members.
func New(cfg Config) *Members {
	return &Members{
		cfg:      cfg,
		channels: make(map[fsm.ChannelKey]*channel),
		projects: make(map[string]int),
		own:      &slice{},
		slices:   make(map[string]*slice),
		nodes:    make(map[string]bool),
		due:      make(map[*channel]struct{}),
		last:     make(map[*member]lastData),
	}
}

// Begin says which node this is. boot tells this process from earlier ones of the node, and is
// greater. It is called before anything is told to or taken from other nodes.
func (m *Members) Begin(node string, boot uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.own.node, m.own.boot = node, boot
}

func (m *Members) channel(key fsm.ChannelKey) *channel {
	ch := m.channels[key]
	if ch == nil {
		ch = &channel{key: key}
		m.channels[key] = ch
	}
	return ch
}

// prune forgets a channel in which there is nothing.
func (m *Members) prune(ch *channel) {
	if ch.members.len() == 0 && ch.subscribers == 0 && len(ch.elsewhere) == 0 && ch.watchers == 0 {
		delete(m.channels, ch.key)
		delete(m.due, ch)
	}
}

// has returns a member of a channel, nil if there is none, or no such channel.
func (ch *channel) has(id string) *member {
	if ch == nil {
		return nil
	}
	return ch.members.find(id)
}

// member returns a member of the channel, made when there is none.
func (ch *channel) member(id string) *member {
	mem := ch.members.find(id)
	if mem == nil {
		mem = &member{id: id}
		ch.members.add(mem)
	}
	return mem
}

// find returns the part of an owner, nil if there is none.
func (mem *member) find(owner *slice) *part {
	for i := range mem.parts {
		if mem.parts[i].owner == owner {
			return &mem.parts[i]
		}
	}
	return nil
}

// newest returns the part with the latest data. Every node chooses the same one.
func (mem *member) newest() *part {
	best := &mem.parts[0]
	for i := range mem.parts[1:] {
		p := &mem.parts[i+1]
		if p.at > best.at || p.at == best.at && p.owner.node > best.owner.node {
			best = p
		}
	}
	return best
}

// connections returns how many connections a member has on all nodes.
func (mem *member) connections() (n int) {
	for i := range mem.parts {
		n += int(mem.parts[i].connections)
	}
	return n
}

// show returns the member as clients see it. It has a part.
func (m *Members) show(mem *member) Member {
	shown := Member{ID: mem.id, Since: mem.parts[0].since, Connections: mem.connections()}
	shown.Data, _ = m.data(mem)
	for i := range mem.parts {
		shown.Since = min(shown.Since, mem.parts[i].since)
	}
	return shown
}

// Enter makes a connection of this node hold a member. It returns the number of the change.
func (m *Members) Enter(key fsm.ChannelKey, id, data string, now time.Time) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channel(key)
	mem := ch.member(id)
	m.touch(ch, mem)
	since, at := now.UnixMilli(), now.UnixMilli()
	if len(mem.parts) > 0 {
		_, last := m.data(mem)
		since, at = min(since, m.show(mem).Since), max(at, last+1)
	}
	p := mem.find(m.own)
	if p == nil {
		mem.parts = append(mem.parts, part{owner: m.own, since: since})
		p = &mem.parts[len(mem.parts)-1]
	}
	p.connections++
	p.until, p.at, p.data = 0, at, data
	m.record(key, id)
	m.dropReplaced(ch, mem)
	m.settle(ch, mem, Left)
	return m.own.number
}

// Update changes the data of a member that a connection of this node holds. It returns the
// number of the change.
func (m *Members) Update(key fsm.ChannelKey, id, data string, now time.Time) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channels[key]
	mem := ch.has(id)
	if mem == nil || mem.find(m.own) == nil {
		return m.own.number
	}
	m.touch(ch, mem)
	_, last := m.data(mem)
	p := mem.find(m.own)
	p.at, p.data = max(now.UnixMilli(), last+1), data
	m.record(key, id)
	m.settle(ch, mem, Left)
	return m.own.number
}

// Leave takes back an Enter. The member leaves unless another connection holds it, or
// one that broke may still come back. It returns the number of the change.
func (m *Members) Leave(key fsm.ChannelKey, id string, now time.Time) uint64 {
	m.release(key, id, now, now, Left)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.own.number
}

// Break notes that a connection that holds a member is gone, and may come back until then.
func (m *Members) Break(key fsm.ChannelKey, id string, until, now time.Time) {
	m.release(key, id, until, now, TimedOut)
}

func (m *Members) release(key fsm.ChannelKey, id string, until, now time.Time, reason Reason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channels[key]
	mem := ch.has(id)
	if mem == nil {
		return
	}
	p := mem.find(m.own)
	if p == nil || p.connections == 0 {
		return
	}
	m.touch(ch, mem)
	p.connections--
	if end := until.UnixMilli(); end > p.until {
		p.until, p.reason = end, reason
	}
	if p.connections == 0 && p.until <= now.UnixMilli() && m.current(now) {
		m.removeOwn(ch, mem, reason)
		return
	}
	if p.until > now.UnixMilli() || p.connections == 0 {
		heap.Push(&m.timers, timer{p.until, key, id})
	}
	m.record(key, id)
	m.settle(ch, mem, reason)
}

// Hold takes back a Break of a connection that was not gone after all. The member may have come
// to another node meanwhile.
func (m *Members) Hold(key fsm.ChannelKey, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channels[key]
	mem := ch.has(id)
	if mem == nil {
		return
	}
	m.touch(ch, mem)
	p := mem.find(m.own)
	if p == nil {
		data, at := m.data(mem)
		mem.parts = append(mem.parts, part{owner: m.own, since: m.show(mem).Since, at: at, data: data})
		p = &mem.parts[len(mem.parts)-1]
	}
	p.connections++
	m.record(key, id)
	m.settle(ch, mem, Left)
}

// removeOwn ends the own part of a member.
func (m *Members) removeOwn(ch *channel, mem *member, reason Reason) {
	m.touch(ch, mem)
	own := mem.find(m.own)
	gone := Change{Channel: ch.key, ID: mem.id, Gone: true, Reason: reason, At: own.at, Data: own.data}
	for i := range mem.parts {
		if s := mem.parts[i].owner; s != m.own && !mem.parts[i].orphan {
			gone.After = append(gone.After, Ref{s.node, s.boot, s.known()})
		}
	}
	m.append(logEntry{channel: ch.key, id: mem.id, gone: &gone})
	m.removePart(ch, mem, m.own, reason)
}

// removePart takes out a part. What it alone knew goes on with the own one, if that stays.
func (m *Members) removePart(ch *channel, mem *member, owner *slice, reason Reason) {
	for i := range mem.parts {
		if mem.parts[i].owner != owner {
			continue
		}
		old := mem.parts[i]
		last := len(mem.parts) - 1
		mem.parts[i] = mem.parts[last]
		mem.parts[last] = part{}
		mem.parts = mem.parts[:last]
		// Others hear of it from this node, so that all show the same.
		switch p := mem.find(m.own); {
		case p != nil && (old.since < p.since || old.at > p.at):
			p.since = min(p.since, old.since)
			if old.at > p.at {
				p.at, p.data = old.at, old.data
			}
			m.record(ch.key, mem.id)
		case p == nil && len(mem.parts) > 0:
			m.keepData(ch, mem, &old)
		}
		break
	}
	m.settle(ch, mem, reason)
}

// dropReplaced ends the orphans of a member that has come back.
func (m *Members) dropReplaced(ch *channel, mem *member) {
	for i, part := range slices.Backward(mem.parts) {
		if i < len(mem.parts) && part.orphan && mem.connections() > 0 {
			m.removePart(ch, mem, part.owner, NodeDied)
		}
	}
}

// retryPause is how long a grace that is over waits before it is looked at again, because
// other nodes are not heard, and the least time between two looks at what nodes have left.
const retryPause = 200 * time.Millisecond

// Tick ends what is over: graces, and what other nodes that are gone have left. It returns
// when the next grace ends, zero when none runs.
func (m *Members) Tick(now time.Time) (next time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endSlices(now)
	m.tryHeld(now)
	m.dropData(now)
	var waiting []timer
	for len(m.timers) > 0 && m.timers[0].until <= now.UnixMilli() {
		t := heap.Pop(&m.timers).(timer) //nolint:forcetypeassert // there is nothing else in it
		ch := m.channels[t.channel]
		mem := ch.has(t.id)
		if mem == nil {
			continue
		}
		p := mem.find(m.own)
		switch {
		case p == nil || p.until == 0 || p.until > t.until:
		case p.connections > 0:
			p.until = 0
		case m.certain(now, m.cfg.Rule(ch.key).Grace, p.until):
			m.removeOwn(ch, mem, p.reason)
		default:
			waiting = append(waiting, t)
		}
	}
	for _, t := range waiting {
		heap.Push(&m.timers, t)
	}
	switch {
	case len(waiting) > 0:
		return now.Add(retryPause)
	case len(m.timers) > 0:
		return time.UnixMilli(m.timers[0].until)
	}
	return time.Time{}
}

// AddSubscribers notes that a channel has so many more subscribers on this node.
func (m *Members) AddSubscribers(key fsm.ChannelKey, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channel(key)
	ch.subscribers += n
	m.record(key, "")
	m.numbersChanged(ch)
	m.prune(ch)
}

// timer is when the grace of a member ends, unless that has changed since.
type timer struct {
	until   int64 // Unix ms
	channel fsm.ChannelKey
	id      string
}

// timers is a heap of timers, the earliest first.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].until < t[j].until }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }

// Push implements heap.Interface.
func (t *timers) Push(x any) { *t = append(*t, x.(timer)) } //nolint:forcetypeassert // as heap passes it

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = timer{}
	*t = (*t)[:last]
	return x
}

package torture

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// rooms are the channels that have members.
var rooms = []string{"p:0", "p:1", "p:2"}

const (
	// memberGrace is the grace of the rooms.
	memberGrace = 4 * time.Second
	// pingPause is the time between two proofs that a connection of a member lives.
	pingPause = 250 * time.Millisecond
	// memberPatience is how long a member waits for an answer before it does something else.
	memberPatience = 2 * time.Second
	// mostConns bounds the connections of a member.
	mostConns = 4
)

// member is a user who is in one channel, on one connection or several. A steady one never
// leaves: it moves, and comes back when its connection broke.
type member struct {
	*workload
	id      string
	channel string
	steady  bool
	stays   bool // is there in the end
	random  *rand.Rand
	updates int // numbers its data

	mu    sync.Mutex
	conns []*memberConn // that have not ended
}

// memberConn is one connection of a member.
type memberConn struct {
	*member
	socket  *socket
	session string
	node    string
	answers chan frame
	over    chan struct{}
	asking  atomic.Bool
	alive   atomic.Int64 // when the last ping was sent that was answered
	entered atomic.Bool
	closed  atomic.Int64 // when the member began to close it
}

func (m *member) run() {
	for !m.isStill() {
		m.act()
		m.linger(time.Duration(100+m.random.IntN(1200)) * time.Millisecond)
	}
	// From now on a member only keeps what it has.
	for stood := false; ; {
		present := len(m.all()) > 0
		switch {
		case m.stays && !present:
			m.come(nil)
		case !m.stays && present:
			for _, c := range m.all() {
				c.close()
			}
		case !stood && !m.waits():
			stood = true
			m.standing.Done()
		}
		select {
		case <-m.leave:
			for _, c := range m.all() {
				c.close()
			}
			if !stood {
				m.standing.Done()
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// isStill reports whether members are to do nothing more.
func (w *workload) isStill() bool {
	select {
	case <-w.still:
		return true
	default:
		return false
	}
}

// linger waits a while, or less when members are to do nothing more.
func (w *workload) linger(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.still:
	}
}

// all returns the connections that have not ended.
func (m *member) all() []*memberConn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.conns)
}

// waits reports whether a connection waits for an answer.
func (m *member) waits() bool {
	return slices.ContainsFunc(m.all(), func(c *memberConn) bool { return c.asking.Load() })
}

// act does something by chance.
func (m *member) act() {
	conns := m.all()
	free := slices.DeleteFunc(
		slices.Clone(conns),
		func(c *memberConn) bool { return c.asking.Load() || !c.entered.Load() },
	)
	if len(free) == 0 {
		if len(conns) < mostConns {
			m.come(nil)
		}
		return
	}
	c := free[m.random.IntN(len(free))]
	switch what := m.random.IntN(12); {
	case what < 4:
		c.ask(Update, m.newData(), nil)
	case what < 7 && len(conns) < mostConns:
		m.move(c)
	case what < 9: // all connections break, as those of a page that is loaded again
		for _, c := range m.all() {
			c.breakOff()
		}
		m.linger(time.Duration(m.random.IntN(1500)) * time.Millisecond)
		for range 5 {
			if _, ok := m.come(nil); ok || m.isStill() {
				break
			}
			m.linger(50 * time.Millisecond)
		}
	case what < 10 && len(conns) < 2:
		m.come(nil)
	case len(free) > 1:
		c.quit(m.random.IntN(2) == 0)
	case !m.steady:
		for _, c := range free {
			if m.random.IntN(3) == 0 {
				c.breakOff()
			} else {
				c.quit(m.random.IntN(2) == 0)
			}
		}
		m.linger(time.Duration(m.random.IntN(int(2 * memberGrace))))
	}
}

// move enters over another connection, and then leaves with an old one. Where that takes the
// place of the old one and fails, the old one enters anew.
func (m *member) move(old *memberConn) {
	replaces := old
	if m.random.IntN(2) == 0 {
		replaces = nil
	}
	switch c, ok := m.come(replaces); {
	case ok:
		old.quit(m.random.IntN(2) == 0)
	case replaces != nil:
		if c != nil {
			c.breakOff()
		}
		old.ask(Enter, m.data(), nil)
	}
}

// data is what the member has said last.
func (m *member) data() string { return fmt.Sprintf("%s.%d", m.id, m.updates) }

// newData returns other data than the member has.
func (m *member) newData() string {
	m.updates++
	return m.data()
}

// come connects to some node and enters, mostly with the data that the member had. It reports
// whether that was acknowledged.
func (m *member) come(replaces *memberConn) (c *memberConn, ok bool) {
	to, began, instead := m.pickRoom(m.random), m.recorder.Now(), ""
	c = &memberConn{
		member: m, session: m.tag(m.id), node: to.name, answers: make(chan frame, 16), over: make(chan struct{}),
	}
	if replaces != nil {
		instead = replaces.socket.id
	}
	var err error
	if c.socket, err = dialInstead(to.address, m.serverKey, instead); err != nil {
		if replaces != nil {
			e := Event{Began: began, Session: c.session, Node: c.node, Channel: c.channel, ID: c.id}
			e.Kind, e.Outcome, e.Note = Enter, Unknown, replaces.session
			c.recorder.Add(e)
			e.Kind, e.Outcome, e.Note, e.Code = Gone, "", "", "broken"
			c.recorder.Add(e)
		}
		return nil, false
	}
	c.alive.Store(began)
	c.socket.ponged = func(payload []byte) {
		if len(payload) == 8 {
			c.alive.Store(max(c.alive.Load(), int64(binary.BigEndian.Uint64(payload))))
		}
	}
	m.mu.Lock()
	m.conns = append(m.conns, c)
	m.mu.Unlock()
	m.members.Go(c.read)
	m.members.Go(c.ping)
	data := m.data()
	if m.random.IntN(3) == 0 {
		data = m.newData()
	}
	select {
	case outcome := <-c.ask(Enter, data, replaces):
		return c, outcome == OK
	case <-time.After(memberPatience):
		return c, false
	}
}

func (c *memberConn) read() {
	for {
		f, err := c.socket.next(silence)
		if err != nil {
			c.end("lost", c.alive.Load())
			return
		}
		if f.Type == "presence_ok" || f.Type == "error" {
			c.answers <- f
		}
	}
}

// ping asks for signs of life: each proves that the node has the connection.
func (c *memberConn) ping() {
	for {
		if c.socket.write(opPing, binary.BigEndian.AppendUint64(nil, uint64(c.recorder.Now()))) != nil {
			return // read is told, too
		}
		select {
		case <-time.After(pingPause):
		case <-c.over:
			return
		}
	}
}

// ask sends a presence frame. What came of it is recorded, and told once.
func (c *memberConn) ask(kind Kind, tag string, replaces *memberConn) <-chan Outcome {
	told := make(chan Outcome, 1)
	e := Event{
		Kind: kind, Session: c.session, Node: c.node, Channel: c.channel, ID: c.id, Tag: tag, Began: c.recorder.Now(),
	}
	if replaces != nil {
		e.Note = replaces.session
	}
	request := map[string]any{"type": "presence", "channel": c.channel, "action": kind, "id": c.id}
	if kind != Quit {
		request["data"] = tag
	}
	c.asking.Store(true)
	err := c.socket.send(request)
	c.members.Go(func() {
		e.Outcome = Unknown
		if err == nil {
			select {
			case f := <-c.answers:
				c.alive.Store(max(c.alive.Load(), e.Began))
				if e.Outcome = OK; f.Type == "error" {
					e.Outcome, e.Code = Failed, f.Code
				}
			case <-c.over:
			}
		}
		c.recorder.Add(e)
		if kind == Enter {
			c.entered.Store(e.Outcome == OK)
		}
		c.asking.Store(false)
		if kind == Enter && e.Outcome == Failed || kind == Quit {
			c.breakOff()
		}
		told <- e.Outcome
	})
	return told
}

// quit leaves, by a frame or by closing the connection.
func (c *memberConn) quit(byFrame bool) {
	if !byFrame {
		c.close()
		return
	}
	c.entered.Store(false)
	c.ask(Quit, "", nil)
}

// close closes the connection as a client does that leaves.
func (c *memberConn) close() {
	c.closed.Store(c.recorder.Now())
	_ = c.socket.write(opClose, []byte{1000 >> 8, 1000 & 0xff}) // what broke has the grace
	c.end("closed", c.closed.Load())
}

// breakOff lets the connection break.
func (c *memberConn) breakOff() { c.end("broken", c.recorder.Now()) }

// end records the end of the connection, once.
func (c *memberConn) end(how string, lastSign int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.conns, c)
	if i < 0 {
		return
	}
	if began := c.closed.Load(); began > 0 {
		how, lastSign = "closed", began // the node was quick
	}
	c.conns = slices.Delete(c.conns, i, i+1)
	close(c.over)
	c.recorder.Add(Event{
		Kind: Gone, Session: c.session, Node: c.node, Channel: c.channel, ID: c.id, Code: how, Began: lastSign,
	})
	c.socket.close()
}

// startMembers lets members and watchers loose.
func (w *workload) startMembers(random func() *rand.Rand, nodes []door) {
	for n := range 8 {
		m := &member{
			workload: w, id: fmt.Sprintf("user%d", n), channel: rooms[n%len(rooms)], steady: n < 4, stays: n < 6,
			random: random(),
		}
		w.users = append(w.users, m)
		w.standing.Add(1)
		w.members.Go(m.run)
	}
	for n := range 2 {
		m := &clientMember{workload: w, id: fmt.Sprintf("client%d", n), channel: rooms[n], random: random()}
		w.clientUsers = append(w.clientUsers, m)
		w.standing.Add(1)
		w.members.Go(m.run)
	}
	for _, to := range nodes {
		watcher := &watcher{workload: w, to: to}
		w.members.Go(watcher.run)
	}
}

// pickRoom returns a node for a member to try, also one that has just joined.
func (w *workload) pickRoom(random *rand.Rand) door {
	doors := w.roomDoors()
	return doors[random.IntN(len(doors))]
}

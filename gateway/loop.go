package gateway

import (
	"container/list"
	"context"
	"maps"
	"net"
	"runtime"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/traffic"
)

// commitBytesPerTurn bounds how much a loop delivers before it looks at its
// sockets again.
const commitBytesPerTurn = 256 << 10

// loop is one event loop. Everything in it and in its connections belongs to its own
// goroutine, except mail, through which all others talk to it.
type loop struct {
	server *Server
	index  int
	mail   *mailbox
	poller poll.Poller

	began     time.Time
	now       time.Duration // since began, as of this turn
	turns     uint32        // so far
	lag       lag
	wheel     wheel
	conns     []*conn
	channels  map[fsm.ChannelKey]*localChannel
	counted   map[fsm.ChannelKey]int // subscribers of channels with members, as others were told
	epoch     string                 // that connections were told
	resets    int                    // times that the state was replaced
	dirty     []*conn                // to be settled at the end of this turn
	scratch   []byte                 // where one write of a connection is joined
	tasks     []task
	commits   []commit
	jobs      []job
	waiting   []*conn         // with more bytes than one turn handles
	watchers  []*subscription // to be told of members
	rechecks  []recheck
	pageCache pageCache
	traffic   traffic.Book
	counting  string           // the project of counter
	counter   *traffic.Counter // that was used last
	stopped   bool

	acceptor   *acceptor // of the first loop, where the poller accepts
	handshakes list.List // of *handshake, the oldest first
	kept       list.List // likewise, of sockets that wait for the next request

	departures []departure // of a node that drains, the earliest first

	submitted []fsm.Publish // since sendPublishes was last called
	asked     []*publish    // the publishes of submitted, in its order
	payloads  []byte        // of submitted

	answers spareBuffers // for the answers of a turn
}

func newLoop(s *Server, index int) (*loop, error) {
	l := &loop{
		server:   s,
		index:    index,
		mail:     newMailbox(s.cfg.CommitBacklogBytes),
		began:    time.Now(),
		wheel:    wheel{step: s.step},
		channels: make(map[fsm.ChannelKey]*localChannel),
		counted:  make(map[fsm.ChannelKey]int),
	}
	var err error
	l.poller, err = poll.New(s.cfg.Poller, poll.Options{
		Wake: l.mail.signal, Post: l.mail.post, ReadAtMost: maxUnprivilegedBytes, CloseGrace: s.cfg.CloseGrace,
	})
	return l, err
}

// run serves until stop has been called.
func (l *loop) run() {
	ticker := time.NewTicker(l.wheel.step)
	defer ticker.Stop()
	for !l.stopped {
		select {
		case <-l.mail.wake:
		case <-ticker.C:
		}
		l.turn()
		// A loop that always has something to do would keep its processor for 10 ms at a time,
		// and each goroutine on a message's way to the log and back would wait so long.
		runtime.Gosched()
	}
	// The last tasks may bring sockets, which are closed with the others.
	for _, t := range l.mail.close() {
		t.do()
	}
	for len(l.conns) > 0 {
		l.conns[0].end(true)
	}
	for _, waiting := range []*list.List{&l.handshakes, &l.kept} {
		for waiting.Len() > 0 {
			waiting.Front().Value.(*handshake).Gone()
		}
	}
	l.poller.Close()
}

// count returns this loop's counter of a project.
func (l *loop) count(project string) *traffic.Counter {
	if l.counter == nil || l.counting != project {
		l.counting, l.counter = project, l.traffic.Of(project)
	}
	return l.counter
}

// stop ends the loop and resets its connections.
func (l *loop) stop() { l.mail.post(func() { l.stopped = true }) }

// turn does all waiting work once. Tasks come first, because a key that
// has ended must not see later commits. A node that was stopped first learns of the time
// in between.
func (l *loop) turn() {
	l.now = time.Since(l.began)
	l.turns++
	l.lag.turn(l.now)
	l.server.pauses.turn()
	paused := l.server.paused() // before tasks are taken: the proof speaks of those that are there now
	l.tasks = l.mail.takeTasks(l.tasks)
	for i, t := range l.tasks {
		t.do()
		l.tasks[i] = task{}
	}
	if !l.failClosed() && paused {
		return
	}
	unjudged := l.continueRecheck()
	l.expireHandshakes()
	if l.acceptor != nil {
		l.acceptor.resume()
	}
	l.poller.Poll()
	l.hearWaiting()
	l.sendPublishes()
	more := l.deliverCommits()
	untold := l.tellWatchers()
	l.wheel.advance(l.now, (*conn).check)
	l.settle()
	l.sendPublishes() // publishes that waited for an answer to be written
	l.dispatch()
	l.pageCache.expire(l.now)
	if more || untold || unjudged || len(l.waiting) > 0 {
		l.mail.signal()
	}
}

// deliverCommits delivers commits. Those of one channel are joined first, and encoded
// and written to each subscriber at once.
func (l *loop) deliverCommits() (more bool) {
	commits, raised, more := l.mail.takeCommits(l.commits, commitBytesPerTurn)
	for i := range commits {
		c := &commits[i]
		if c.local = l.channels[c.channel]; c.local == nil {
			continue
		}
		if before := c.local.latest; before != nil && before.absorb(c) {
			c.local = nil
		} else {
			c.local.latest = c
		}
	}
	for i := range commits {
		if t := commits[i].local; t != nil {
			t.latest = nil
			t.deliver(&commits[i])
		}
	}
	clear(commits)
	l.commits = commits
	for key, head := range raised {
		if t := l.channels[key]; t != nil {
			t.raise(head)
		}
	}
	return more
}

// failClosed closes the connections of a node that cannot know whether a key still
// lives. It reports whether this is such a node.
func (l *loop) failClosed() bool {
	if len(l.conns) == 0 || l.server.staleness() <= CloseAfter {
		return false
	}
	l.closeAll(closeTryLater, clipReason(l.server.refuseStale().Reason))
	return true
}

// settle flushes every connection that something happened to, unless the process was
// stopped in the course of this turn.
func (l *loop) settle() {
	l.server.pauses.turn()
	if !l.failClosed() && l.server.paused() {
		return
	}
	for len(l.dirty) > 0 {
		last := len(l.dirty) - 1
		c := l.dirty[last]
		l.dirty[last] = nil // not to be kept by the array
		l.dirty = l.dirty[:last]
		c.dirty = false
		c.settle()
	}
}

// catchUp runs then once the node has applied everything that the cluster had committed
// when catchUp was called. The Broker has those that wait share a round to the leader.
func (l *loop) catchUp(then func(error)) {
	s := l.server
	s.running.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
		defer cancel()
		err := s.cfg.Broker.CatchUp(ctx)
		l.mail.post(func() { then(err) })
	})
}

// touch has c settled at the end of this turn.
func (l *loop) touch(c *conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// attach serves a client on a socket of net/http after its handshake. early holds the
// bytes behind the handshake.
func (l *loop) attach(c *conn, socket net.Conn, early []byte) {
	transport, err := l.poller.Attach(c, socket)
	if err != nil {
		c.known()
		l.server.connectionEnded()
		l.server.cfg.Logger.Error("attach connection", "address", c.peer.address, "err", err)
		return
	}
	l.adopt(c, transport, early)
}

// adopt has c served on transport.
func (l *loop) adopt(c *conn, transport poll.Transport, early []byte) {
	c.transport = transport
	c.index = len(l.conns)
	l.conns = append(l.conns, c)
	l.wheel.schedule(c, c.nextCheck())
	if c.stream != nil {
		l.server.metrics.streams.WithLabelValues(c.via()).Inc()
		c.beginStream()
	}
	if len(early) > 0 {
		c.Received(early)
	}
}

func (l *loop) detach(c *conn) {
	last := len(l.conns) - 1
	l.conns[c.index] = l.conns[last]
	l.conns[c.index].index = c.index
	l.conns[last] = nil
	l.conns = l.conns[:last]
	if c.stream != nil {
		l.server.metrics.streams.WithLabelValues(c.via()).Dec()
	}
	l.server.connectionEnded()
}

// trim gives back the room that many connections took.
func (l *loop) trim() {
	l.conns = slices.Clone(l.conns)
	l.dirty = slices.Clone(l.dirty)
	l.waiting = slices.Clone(l.waiting)
	l.channels = maps.Clone(l.channels)
	l.commits, l.scratch = nil, nil
	l.submitted, l.payloads, l.answers = slices.Clone(l.submitted), slices.Clone(l.payloads), nil
	l.wheel.trim()
	l.poller.Trim()
}

// closeAll closes everybody except clients that were refused for good: they are shown
// nothing, and must not be asked back.
func (l *loop) closeAll(code closeCode, reason string) {
	for _, c := range l.conns {
		if c.state != stateRefused {
			c.close(code, reason)
			c.withhold()
		}
	}
}

// channel returns the loop's entry of a channel, and makes one when there is none.
func (l *loop) channel(key fsm.ChannelKey) *localChannel {
	t := l.channels[key]
	if t == nil {
		t = &localChannel{loop: l, key: l.server.interest.add(key, l.index)}
		l.channels[t.key] = t
	}
	return t
}

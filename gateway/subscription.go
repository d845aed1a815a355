package gateway

import (
	"cmp"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// subscription is a cursor of one connection in one channel. It is live while
// next is what its topic will bring next; otherwise it stands in the
// connection's queue of those that read the log, and rejoins at the head. A
// subscriber that asks for the past and one whose socket is full are the same
// thing.
type subscription struct {
	conn  *conn
	topic *topic
	index int // in topic.subs

	joining bool // how far the channel reaches is not known yet
	live    bool
	queued  bool // stands in conn.behind
	gone    bool // unsubscribed, or its connection has ended

	next     uint64 // the offset wanted next
	replayTo uint64 // what was committed before the client subscribed
	low      uint64 // the lowest offset that is sent or will be
	backfill []span // what a later subscribe wants of the time before low
}

// span is a range of offsets still to be sent.
type span struct {
	next, end uint64 // end is not part of it
}

// op is a subscribe or unsubscribe that waits for its turn.
type op struct {
	channel  string
	leave    bool
	start    startPoint
	caughtUp bool // the leader was asked already
}

// maxOps is how many ops of a connection may wait before its next request is read.
const maxOps = 256

func (c *conn) find(channel string) (at int, found bool) {
	return slices.BinarySearchFunc(c.subs, channel, func(sub *subscription, name string) int {
		return cmp.Compare(sub.topic.key.Name, name)
	})
}

// enter returns the connection's subscription of a channel, made when there is
// none, unless the connection, its project or the node has too many.
func (c *conn) enter(channel string) (*subscription, *refusal.Error) {
	at, found := c.find(channel)
	if found {
		return c.subs[at], nil
	}
	s := c.loop.server
	if len(c.subs) >= s.cfg.MaxChannels {
		return nil, refusal.New(refusal.TooManyChannels, "too many channels on one connection")
	}
	project, found := s.cfg.Broker.Project(c.who.Value().Project)
	if !found {
		return nil, refusal.New(refusal.Unavailable, "the project was deleted")
	}
	if refused := s.quotas.subscribe(project, s.cfg.MaxSubscriptions); refused != nil {
		return nil, refused
	}
	sub := &subscription{conn: c, joining: true}
	c.loop.topic(fsm.ChannelKey{Project: c.who.Value().Project, Name: channel}).join(sub)
	c.subs = slices.Insert(c.subs, at, sub)
	return sub, nil
}

func (c *conn) leave(channel string) {
	at, found := c.find(channel)
	if !found {
		return
	}
	sub := c.subs[at]
	sub.gone = true
	sub.topic.leave(sub)
	c.loop.server.quotas.unsubscribe(sub.topic.key.Project, 1)
	c.subs = slices.Delete(c.subs, at, at+1)
	if sub.queued {
		c.behind = slices.DeleteFunc(c.behind, func(s *subscription) bool { return s == sub })
	}
}

// fallBehind makes the subscription read the log for what is next.
func (sub *subscription) fallBehind() {
	sub.live = false
	sub.enqueue()
}

func (sub *subscription) enqueue() {
	if !sub.queued && !sub.gone {
		sub.queued = true
		sub.conn.behind = append(sub.conn.behind, sub)
		sub.conn.loop.touch(sub.conn)
	}
}

// rewind takes back what a delivery moved the cursor over, from frame at on.
func (sub *subscription) rewind(d *delivery, at int) {
	if d.first == 0 || at >= len(d.frames.ends) || sub.gone {
		return
	}
	offset := d.first + uint64(at-d.skip)
	switch {
	case !d.backfill:
		if offset < sub.next {
			sub.next = offset
		}
		sub.live = false
	case len(sub.backfill) > 0 && sub.backfill[0].next == d.after:
		sub.backfill[0].next = offset
	default:
		sub.backfill = slices.Insert(sub.backfill, 0, span{offset, d.after})
	}
	sub.enqueue()
}

// begin places the cursor where the client wants it, now that the bounds of the
// channel are known. Asked again of a channel that it has, the client gets what
// this connection has not been sent yet.
func (sub *subscription) begin(l *lookup, epoch string, initial fsm.Initial) {
	c, t := sub.conn, sub.topic
	t.head = max(t.head, l.info.Head)
	head, earliest := t.head, max(l.info.Earliest, 1)
	start := l.op.start
	foreign := start.epoch != "" && start.epoch != epoch
	if foreign && start.from == startAfter && start.offset == 0 && !start.strict {
		start.from = startByRule // it has seen nothing, of whatever numbering
	}
	start = start.byRule(initial)

	wanted := uint64(1)
	resumes := start.from == startAfter && !foreign && start.offset <= head
	switch start.from {
	case startAfter:
		if wanted = head + 1; resumes {
			wanted = start.offset + 1
		}
	case startLive:
		wanted = head + 1
	case startLast:
		wanted = head + 1 - min(start.offset, head)
	case startTime:
		wanted = min(l.offsetAt, head+1)
	}
	next := max(wanted, min(earliest, head+1))
	recovered := next == 1
	if start.from == startAfter {
		recovered = resumes && next == wanted
	}
	if start.strict && !recovered && (start.from == startAfter || start.from == startAll) {
		c.abandon(t.key.Name, &refusal.Error{
			Code: refusal.Unrecoverable, Reason: "not all messages after the offset are there",
			Bounds: &refusal.Bounds{Head: head, Earliest: earliest, Epoch: epoch},
		})
		return
	}
	c.out.urgent = appendSubscribed(c.out.urgent, t.key.Name, head, earliest, epoch, recovered)
	c.loop.touch(c)

	switch {
	case sub.joining:
		sub.joining = false
		if !resumes {
			wanted = next // what was gone before is no gap to those who never had an offset
		}
		sub.next, sub.low, sub.replayTo = wanted, wanted, head
	case wanted < sub.low:
		if !resumes {
			wanted = next
		}
		if wanted < sub.low {
			sub.backfill = append(sub.backfill, span{wanted, sub.low})
			sub.low = wanted
			sub.enqueue()
		}
		return
	default:
		return
	}
	if sub.next > head {
		sub.live = true
	} else {
		sub.enqueue()
	}
}

// take delivers what sub wants of a page and moves on.
func (sub *subscription) take(w want, p *page) {
	if w.backfill {
		sub.takeBackfill(w, p)
		return
	}
	t := sub.topic
	t.head = max(t.head, p.bounds.Head)
	if p.bounds.Earliest > sub.next {
		sub.gap(sub.next, p.bounds.Earliest, false)
		sub.next = p.bounds.Earliest
	}
	if d, some := p.delivery(w); some {
		sub.conn.queue(d)
		sub.next = d.after
	}
	if sub.next > t.head {
		sub.live = true
	} else {
		sub.enqueue()
	}
}

func (sub *subscription) takeBackfill(w want, p *page) {
	current := &sub.backfill[0]
	if p.bounds.Earliest > current.next {
		to := min(p.bounds.Earliest, current.end)
		sub.gap(current.next, to, true)
		current.next = to
	}
	if d, some := p.delivery(w); some {
		sub.conn.queue(d)
		current.next = d.after
	}
	if current.next >= current.end {
		sub.backfill = slices.Delete(sub.backfill, 0, 1)
	}
	if len(sub.backfill) > 0 || !sub.live {
		sub.enqueue()
	}
}

// gap tells the client that the offsets from from up to but not including to
// will not come. It expects them: cursors begin at what it has asked for or, without
// an offset, at what "subscribed" said was retained.
func (sub *subscription) gap(from, to uint64, backfill bool) {
	if from >= to {
		return
	}
	frame := appendGap(nil, sub.topic.key.Name, from, to-1)
	sub.conn.loop.server.metrics.gaps.Inc()
	sub.conn.queue(delivery{
		sub: sub, frames: frameRun{frame, []int{len(frame)}}, first: from, after: to, backfill: backfill,
	})
}

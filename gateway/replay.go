package gateway

import (
	"slices"

	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// want names the messages that a subscription reads next.
type want struct {
	sub      *subscription
	from     uint64
	last     uint64 // none after it
	replayed bool   // to be marked as committed before the client subscribed
	backfill bool   // they belong to the subscription's backfill, not to its cursor
	as       protocol.Encoding
}

func (sub *subscription) wants() want {
	as := sub.conn.encoding
	switch {
	case len(sub.backfill) > 0:
		first := sub.backfill[0]
		return want{sub: sub, from: first.next, last: first.end - 1, replayed: true, backfill: true, as: as}
	case sub.next <= sub.replayTo:
		return want{sub: sub, from: sub.next, last: sub.replayTo, replayed: true, as: as}
	}
	return want{sub: sub, from: sub.next, last: strictjson.MaxWhole, as: as}
}

// nextJob gives the workers the next job of this connection. There is one at a time, so
// that a connection with many channels takes turns with the others.
func (c *conn) nextJob() {
	if c.state != stateOpen || c.working {
		return
	}
	for len(c.ops) > 0 && c.ops[0].leave {
		c.leave(c.ops[0].channel)
		c.leaveOnUnsubscribe(c.ops[0].channel)
		c.out.urgent = protocol.AppendUnsubscribed(c.out.urgent, c.ops[0].channel)
		c.ops = slices.Delete(c.ops, 0, 1)
		c.loop.touch(c)
	}
	if len(c.ops) > 0 {
		c.lookUp()
		return
	}
	if c.ops = nil; c.out.blocked || len(c.behind) == 0 {
		return
	}
	sub := c.behind[0]
	c.behind = slices.Delete(c.behind, 0, 1)
	sub.queued = false
	if len(c.behind) == 0 {
		c.behind = nil
	}
	c.read(sub)
}

// read gets a subscription its next page: one in the cache, one under way for others, or
// one read for it.
func (c *conn) read(sub *subscription) {
	c.working = true
	w, ch := sub.wants(), sub.channel
	if p := ch.cached(w); p != nil {
		// In the next turn, so that the others have theirs in between.
		c.loop.mail.post(func() { c.paged(w, p) })
		return
	}
	p := ch.reading(w)
	if p == nil {
		p = ch.read(w)
	}
	p.waiting = append(p.waiting, w)
}

// paged delivers a page, unless its channel was unsubscribed meanwhile.
func (c *conn) paged(w want, p *page) {
	c.working = false
	if c.state != stateOpen {
		return
	}
	c.loop.touch(c)
	switch {
	case w.sub.gone:
	case p.resets != c.loop.resets:
		w.sub.enqueue() // the page is of a state that was replaced meanwhile
	case p.err != nil:
		// The cursor cannot move on, and to skip would be a silent hole: the
		// client resumes elsewhere.
		c.refuse(c.loop.server.refusalOf(p.err, "read channel"), p.channel.key.Name, "")
		c.close(closeTryLater, "the log cannot be read")
	default:
		w.sub.take(w, p)
	}
}

// read begins to read a page.
func (ch *localChannel) read(w want) *page {
	p := &page{
		channel: ch, from: w.from, last: w.last, replayed: w.replayed, as: w.as, epoch: ch.loop.epoch,
		head: ch.head, resets: ch.loop.resets,
	}
	ch.underway = append(ch.underway, p)
	ch.loop.work(job{run: p.read, then: func() { ch.finish(p) }})
	return p
}

// reading returns the page under way that w would ask for too.
func (ch *localChannel) reading(w want) *page {
	for _, p := range ch.underway {
		if p.from == w.from && p.replayed == w.replayed && p.as == w.as {
			return p
		}
	}
	return nil
}

// finish delivers a page to the subscriptions that wait for it.
func (ch *localChannel) finish(p *page) {
	ch.underway = slices.DeleteFunc(ch.underway, func(q *page) bool { return q == p })
	if len(ch.subs) > 1 && len(p.frames.ends) > 0 && p.resets == ch.loop.resets {
		ch.loop.pageCache.put(p, ch.loop.now)
	}
	waiting := p.waiting
	p.waiting = nil
	for _, w := range waiting {
		w.sub.conn.paged(w, p)
	}
}

// take delivers the part of a page that sub wants and moves its cursor.
func (sub *subscription) take(w want, p *page) {
	if w.backfill {
		sub.takeBackfill(w, p)
		return
	}
	ch := sub.channel
	ch.head = max(ch.head, p.bounds.Head)
	if p.bounds.Earliest > sub.next {
		sub.gap(sub.next, p.bounds.Earliest, false)
		sub.next = p.bounds.Earliest
	}
	if d, some := p.delivery(w); some {
		sub.conn.queue(d)
		sub.next = d.after
	}
	if sub.next > ch.head {
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

package gateway

import (
	"context"
	"fmt"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const lookupsPerJob = 64

// pump gives the workers the next thing that this connection needs of the log.
// There is one job at a time, so that a connection with many channels waits its
// turn among the others.
func (c *conn) pump() {
	if c.state != stateOpen || c.working {
		return
	}
	for len(c.ops) > 0 && c.ops[0].leave {
		c.leave(c.ops[0].channel)
		c.out.urgent = appendUnsubscribed(c.out.urgent, c.ops[0].channel)
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

// lookup asks for the bounds of a channel that a client subscribes to.
type lookup struct {
	op       op
	sub      *subscription
	key      fsm.ChannelKey
	info     fsm.ChannelInfo
	offsetAt uint64 // of op.start.time
	err      error
}

// lookUp has the bounds of the channels looked up that the client has asked for
// first. The loop is told of its interest before, and the Broker too, so nothing
// is missed between the look-up and the moment its result is used.
func (c *conn) lookUp() {
	var asked []*lookup
	var channels []fsm.ChannelKey
	n := 0
	for n < len(c.ops) && !c.ops[n].leave && len(asked) < lookupsPerJob {
		o := c.ops[n]
		n++
		sub, refused := c.enter(o.channel)
		if refused != nil {
			c.refuse(refused, o.channel, "")
			continue
		}
		asked = append(asked, &lookup{op: o, sub: sub, key: sub.topic.key})
		channels = append(channels, sub.topic.key)
	}
	c.ops = slices.Delete(c.ops, 0, n)
	if len(asked) == 0 {
		c.loop.touch(c)
		return
	}
	c.working = true
	l, resets := c.loop, c.loop.resets
	look := job{
		run: func() {
			for _, lookup := range asked {
				lookup.run(l.server)
			}
		},
		then: func() {
			c.working = false
			if resets != l.resets {
				c.putBack(asked) // looked up in the state before
				return
			}
			c.subscribed(asked)
		},
	}
	if !l.server.cfg.Broker.AddInterest(channels, func() { l.mail.post(func() { l.work(look) }) }) {
		l.work(look)
	}
}

func (l *lookup) run(s *Server) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	if l.err = s.cfg.Broker.ReadYourWrites(ctx); l.err != nil {
		l.err = fmt.Errorf("wait for what was acknowledged: %w", l.err)
		return
	}
	// The bounds come last: what retention takes before is not promised, what it
	// takes after is a gap.
	if l.op.start.from == startTime {
		if l.offsetAt, l.err = s.cfg.Broker.OffsetAt(ctx, l.key, l.op.start.time); l.err != nil {
			l.err = fmt.Errorf("look up time: %w", l.err)
			return
		}
	}
	if l.info, l.err = s.cfg.Broker.Channel(ctx, l.key); l.err != nil {
		l.err = fmt.Errorf("look up channel: %w", l.err)
	}
}

// subscribed uses what was looked up. A client that knows of a later offset
// than this node may simply come from a node that is ahead: then the leader is
// asked first, and what follows waits.
func (c *conn) subscribed(asked []*lookup) {
	if c.state != stateOpen {
		return
	}
	c.loop.touch(c)
	epoch := c.loop.server.cfg.Broker.Epoch()
	for i, l := range asked {
		if l.err == nil && c.ahead(l, epoch) {
			c.catchUp(asked[i:])
			return
		}
		c.finish(l, epoch)
	}
}

func (c *conn) ahead(l *lookup, epoch string) bool {
	start := l.op.start
	return start.from == startAfter && !l.op.caughtUp &&
		(start.epoch == "" || start.epoch == epoch) &&
		start.offset > max(l.info.Head, l.sub.topic.head)
}

// putBack has lookups made again, before all else.
func (c *conn) putBack(asked []*lookup) {
	if c.state != stateOpen {
		return
	}
	ops := make([]op, len(asked), len(asked)+len(c.ops))
	for i, l := range asked {
		ops[i] = l.op
	}
	c.ops = append(ops, c.ops...)
	c.loop.touch(c)
}

func (c *conn) catchUp(rest []*lookup) {
	c.putBack(rest)
	c.ops[0].caughtUp = true
	c.working = true
	s := c.loop.server
	s.catchUps.join(s.ctx, func(err error) {
		c.loop.mail.post(func() {
			c.working = false
			if c.state != stateOpen {
				return
			}
			if err != nil {
				first := c.ops[0]
				c.ops = slices.Delete(c.ops, 0, 1)
				c.abandon(first.channel, refusal.New(refusal.Unavailable, "the cluster cannot be asked how far the channel reaches"))
			}
			c.loop.touch(c)
		})
	})
}

func (c *conn) finish(l *lookup, epoch string) {
	s := c.loop.server
	if l.err != nil {
		c.abandon(l.op.channel, s.refusalOf(l.err, "subscribe"))
		return
	}
	project, found := s.cfg.Broker.Project(c.who.Value().Project)
	refused := refusal.New(refusal.Unavailable, "the channel could not be joined")
	if found {
		// The rights may have changed since the client asked.
		if forbidden := auth.Authorise(c.who.Value(), auth.Subscribe, project, l.op.channel); forbidden != nil {
			refused = forbidden
		} else if !l.sub.gone {
			l.sub.begin(l, epoch, project.Rule(l.op.channel).Initial)
			return
		}
	}
	c.abandon(l.op.channel, refused)
}

// abandon refuses a subscribe; a subscription that was there before stays.
func (c *conn) abandon(channel string, r *refusal.Error) {
	if at, found := c.find(channel); found && c.subs[at].joining {
		c.leave(channel)
	}
	c.refuse(r, channel, "")
}

// read has a subscription given what it wants next: what others have read
// lately, or are reading, or a page read for it.
func (c *conn) read(sub *subscription) {
	c.working = true
	w, t := sub.wants(), sub.topic
	if p := t.shelved(w); p != nil {
		// In the next turn, so that the others have theirs in between.
		c.loop.mail.post(func() { c.paged(w, p) })
		return
	}
	p := t.reading(w)
	if p == nil {
		p = t.read(w)
	}
	p.waiting = append(p.waiting, w)
}

// paged delivers a page, unless it was unsubscribed meanwhile.
func (c *conn) paged(w want, p *page) {
	c.working = false
	if c.state != stateOpen {
		return
	}
	c.loop.touch(c)
	switch {
	case w.sub.gone:
	case p.resets != c.loop.resets:
		w.sub.enqueue() // read before the state was replaced: that says nothing of it now
	case p.err != nil:
		// The cursor cannot move on, and to skip would be a silent hole: the
		// client resumes elsewhere.
		c.refuse(c.loop.server.refusalOf(p.err, "read channel"), p.topic.key.Name, "")
		c.close(closeTryLater, "the log cannot be read")
	default:
		w.sub.take(w, p)
	}
}

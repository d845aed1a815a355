package gateway

import (
	"context"
	"fmt"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
)

const (
	lookupsPerJob = 64
	pageMessages  = 512
	pageBytes     = 64 << 10
)

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
	var job []*lookup
	var channels []fsm.ChannelKey
	n := 0
	for n < len(c.ops) && !c.ops[n].leave && len(job) < lookupsPerJob {
		o := c.ops[n]
		n++
		sub := c.enter(o.channel)
		if sub == nil {
			c.refuse(Refuse(CodeTooManyChannels, "too many channels on one connection"), o.channel, "")
			continue
		}
		job = append(job, &lookup{op: o, sub: sub, key: sub.topic.key})
		channels = append(channels, sub.topic.key)
	}
	c.ops = slices.Delete(c.ops, 0, n)
	if len(job) == 0 {
		c.loop.touch(c)
		return
	}
	c.working = true
	s := c.loop.server
	work := func() {
		for _, l := range job {
			l.run(s)
		}
		c.loop.mail.post(func() { c.subscribed(job) })
	}
	if !s.cfg.Broker.Attend(channels, func() { s.workers.do(work) }) {
		s.workers.do(work)
	}
}

func (l *lookup) run(s *Server) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	if l.info, l.err = s.cfg.Broker.Channel(ctx, l.key); l.err != nil {
		l.err = fmt.Errorf("look up channel: %w", l.err)
		return
	}
	if l.op.start.from == startTime {
		if l.offsetAt, l.err = s.cfg.Broker.OffsetAt(ctx, l.key, l.op.start.time); l.err != nil {
			l.err = fmt.Errorf("look up time: %w", l.err)
		}
	}
}

// subscribed uses what was looked up. A client that knows of a later offset
// than this node may simply come from a node that is ahead: then the leader is
// asked first, and what follows waits.
func (c *conn) subscribed(job []*lookup) {
	c.working = false
	if c.state != stateOpen {
		return
	}
	c.loop.touch(c)
	epoch := c.loop.server.cfg.Broker.Epoch()
	for i, l := range job {
		if l.err == nil && c.ahead(l, epoch) {
			c.catchUp(job[i:])
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

func (c *conn) catchUp(rest []*lookup) {
	c.working = true
	ops := make([]op, len(rest), len(rest)+len(c.ops))
	for i, l := range rest {
		ops[i] = l.op
	}
	ops[0].caughtUp = true
	c.ops = append(ops, c.ops...)
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
				c.abandon(first.channel, Refuse(CodeUnavailable, "the cluster cannot be asked how far the channel reaches"))
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
	project, found := s.cfg.Broker.Project(c.project)
	if !found || l.sub.gone {
		c.abandon(l.op.channel, Refuse(CodeUnavailable, "the channel could not be joined"))
		return
	}
	l.sub.begin(l, epoch, project.Rule(l.op.channel).Initial)
}

// abandon refuses a subscribe; a subscription that was there before stays.
func (c *conn) abandon(channel string, r *Refusal) {
	if at, found := c.find(channel); found && c.subs[at].joining {
		c.leave(channel)
	}
	c.refuse(r, channel, "")
}

// read has the next page of a subscription read and encoded.
func (c *conn) read(sub *subscription) {
	p := &page{sub: sub, from: sub.next, head: sub.topic.head}
	replayTo, count := sub.replayTo, pageMessages
	if len(sub.backfill) > 0 {
		first := sub.backfill[0]
		p.backfill, p.from = true, first.next
		replayTo = first.end
		count = int(min(uint64(count), first.end-first.next))
	}
	key, quoted := sub.topic.key, sub.topic.quoted
	c.working = true
	s := c.loop.server
	s.workers.do(func() {
		p.run(s, key, quoted, count, replayTo)
		c.loop.mail.post(func() { c.paged(p) })
	})
}

func (p *page) run(s *Server, key fsm.ChannelKey, quoted []byte, count int, replayTo uint64) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	p.bounds, p.err = s.cfg.Broker.Read(ctx, key, p.from-1+plantedReplaySkip, count, pageBytes)
	messages := p.bounds.Messages
	p.bounds.Messages = nil
	if p.backfill {
		for len(messages) > 0 && messages[len(messages)-1].Offset > replayTo-1 {
			messages = messages[:len(messages)-1]
		}
	}
	switch {
	case p.err != nil:
		p.err = fmt.Errorf("read channel: %w", p.err)
	case len(messages) > 0:
		p.first = messages[0].Offset
		p.frames = encodeMessages(quoted, messages, replayTo)
	case p.bounds.Earliest <= p.from && p.bounds.Head >= p.from:
		p.err = fmt.Errorf("read channel: nothing from offset %d on although %d is the head", p.from, p.bounds.Head)
	case !p.backfill && p.bounds.Head < p.head:
		p.err = fmt.Errorf("read channel: head went back from %d to %d", p.head, p.bounds.Head)
	}
}

// paged delivers a page, unless it was unsubscribed meanwhile.
func (c *conn) paged(p *page) {
	c.working = false
	if c.state != stateOpen {
		return
	}
	c.loop.touch(c)
	switch {
	case p.err != nil:
		// The cursor cannot move on, and to skip would be a silent hole: the
		// client resumes elsewhere.
		c.refuse(c.loop.server.refusalOf(p.err, "read channel"), p.sub.topic.key.Name, "")
		c.close(closeTryLater, "the log cannot be read")
	case !p.sub.gone:
		p.sub.take(p)
	}
}

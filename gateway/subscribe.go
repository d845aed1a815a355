package gateway

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// op is a subscribe or unsubscribe that waits for its turn.
type op struct {
	channel  string
	leave    bool
	start    protocol.StartPoint
	watch    protocol.Watch
	caughtUp bool // the leader was asked already
}

// maxOps bounds the ops of a connection that may wait before its next request is read.
const maxOps = 256

func (c *conn) subscribe(req protocol.Request) {
	if refused := c.may(auth.Subscribe, req.Channel); refused != nil {
		c.refuseFrame(refused, req.Channel, "")
		return
	}
	if req.Watch != protocol.WatchNothing {
		project, found := c.loop.server.cfg.Broker.Project(c.who.Value().Project)
		if !found {
			return // about to be closed
		}
		if refused := mayWatch(c.who.Value(), project, req.Channel, req.Watch); refused != nil {
			c.refuseFrame(refused, req.Channel, "")
			return
		}
	}
	c.ops = append(c.ops, op{channel: req.Channel, start: req.Start, watch: req.Watch})
}

const lookupsPerJob = 16

// lookup asks for the bounds of a channel that a client subscribes to.
type lookup struct {
	op       op
	sub      *subscription
	key      fsm.ChannelKey
	info     fsm.ChannelInfo
	offsetAt uint64 // of op.start.time
	err      error
}

// lookUp looks up the bounds of the channels that the client has asked for first. It
// registers the interest of the loop and of the Broker before, so nothing is missed
// until the result is used.
func (c *conn) lookUp() {
	var asked []*lookup
	var channels []fsm.ChannelKey
	n := 0
	for n < len(c.ops) && !c.ops[n].leave && len(asked) < lookupsPerJob {
		o := c.ops[n]
		n++
		sub, refused := c.enter(o.channel)
		if refused != nil && len(asked) > 0 && c.stream == nil {
			n-- // those before it are answered first; of a stream nothing is answered
			break
		}
		if refused != nil {
			if c.refuse(refused, o.channel, ""); c.state != stateOpen {
				return // a refusal ends a stream, with all that it has asked for
			}
			continue
		}
		asked = append(asked, &lookup{op: o, sub: sub, key: sub.channel.key})
		channels = append(channels, sub.channel.key)
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
				runtime.Gosched() // event loops that can run come first
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
	// The bounds come last. Messages that retention takes before are not promised, and
	// those that it takes later are a gap.
	if l.op.start.From == protocol.StartTime {
		if l.offsetAt, l.err = s.cfg.Broker.OffsetAt(ctx, l.key, l.op.start.Time); l.err != nil {
			l.err = fmt.Errorf("look up time: %w", l.err)
			return
		}
	}
	if l.info, l.err = s.cfg.Broker.Channel(ctx, l.key); l.err != nil {
		l.err = fmt.Errorf("look up channel: %w", l.err)
	}
}

// subscribed uses the results of lookups. A client that knows of a later offset than
// this node may come from a node that is ahead. Then the leader is asked first, and the
// rest waits.
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
		if c.finish(l, epoch); c.state != stateOpen {
			return // a stream that was refused
		}
	}
}

func (c *conn) ahead(l *lookup, epoch string) bool {
	start := l.op.start
	return start.From == protocol.StartAfter && !l.op.caughtUp &&
		(start.Epoch == "" || start.Epoch == epoch) &&
		start.Offset > max(l.info.Head, l.sub.channel.head)
}

// putBack has lookups made again, before everything else.
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
	c.loop.catchUp(func(err error) {
		c.working = false
		if c.state != stateOpen {
			return
		}
		if err != nil {
			first := c.ops[0]
			c.ops = slices.Delete(c.ops, 0, 1)
			c.abandon(first.channel, refusal.New(refusal.Unavailable,
				"the cluster cannot be asked how far the channel reaches"))
		}
		c.loop.touch(c)
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

// abandon refuses a subscribe. A subscription that was there before stays.
func (c *conn) abandon(channel string, r *refusal.Error) {
	if at, found := c.find(channel); found && c.subs[at].joining {
		c.leave(channel)
	}
	c.refuse(r, channel, "")
}

func (c *conn) find(channel string) (at int, found bool) {
	return slices.BinarySearchFunc(c.subs, channel, func(sub *subscription, name string) int {
		return cmp.Compare(sub.channel.key.Name, name)
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
	if refused := s.quotas.Subscribe(project, s.cfg.MaxSubscriptions); refused != nil {
		return nil, refused
	}
	sub := &subscription{conn: c, joining: true}
	c.loop.channel(fsm.ChannelKey{Project: c.who.Value().Project, Name: channel}).join(sub)
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
	sub.unwatch()
	sub.channel.leave(sub)
	c.loop.server.quotas.Unsubscribe(sub.channel.key.Project, 1)
	c.subs = slices.Delete(c.subs, at, at+1)
	if sub.queued {
		c.behind = slices.DeleteFunc(c.behind, func(s *subscription) bool { return s == sub })
	}
}

// begin places the cursor where the client wants it, once the bounds of the channel are
// known. A client that asks again for a channel gets the messages that this connection
// has not been sent yet.
func (sub *subscription) begin(l *lookup, epoch string, initial fsm.Initial) {
	c, t := sub.conn, sub.channel
	t.head = max(t.head, l.info.Head)
	head, earliest := t.head, max(l.info.Earliest, 1)
	start := l.op.start
	foreign := start.Epoch != "" && start.Epoch != epoch
	if foreign && start.From == protocol.StartAfter && start.Offset == 0 && !start.Strict {
		start.From = protocol.StartByRule // it has seen nothing, of whatever numbering
	}
	start = start.ByRule(initial)

	wanted := uint64(1)
	resumes := start.From == protocol.StartAfter && !foreign && start.Offset <= head
	switch start.From {
	case protocol.StartAfter:
		if wanted = head + 1; resumes {
			wanted = start.Offset + 1
		}
	case protocol.StartLive:
		wanted = head + 1
	case protocol.StartLast:
		wanted = head + 1 - min(start.Offset, head)
	case protocol.StartTime:
		wanted = min(l.offsetAt, head+1)
	}
	next := max(wanted, min(earliest, head+1))
	recovered := next == 1
	if start.From == protocol.StartAfter {
		recovered = resumes && next == wanted
	}
	recovered = recovered && !start.Lost
	if start.Strict && !recovered && (start.From == protocol.StartAfter || start.From == protocol.StartAll) {
		c.abandon(t.key.Name, &refusal.Error{
			Code: refusal.Unrecoverable, Reason: "not all messages after the offset are there",
			Bounds: &refusal.Bounds{Head: head, Earliest: earliest, Epoch: epoch},
		})
		return
	}
	if !resumes {
		wanted = next // lost messages are no gap to a client that never had an offset
	}
	c.answerSubscribe(sub, refusal.Bounds{Head: head, Earliest: earliest, Epoch: epoch}, recovered, wanted-1)
	if l.op.watch != protocol.WatchNothing {
		sub.startWatch(l.op.watch)
	}
	c.loop.touch(c)

	switch {
	case sub.joining:
		sub.joining = false
		sub.next, sub.low, sub.replayTo = wanted, wanted, head
	case wanted < sub.low:
		sub.backfill = append(sub.backfill, span{wanted, sub.low})
		sub.low = wanted
		sub.enqueue()
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

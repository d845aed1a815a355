package gateway

import (
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// publish is a client's publish that has no answer yet. Until it is answered its outcome, which
// is receipt or err, belongs to the Broker's goroutine.
type publish struct {
	conn    *conn
	channel string
	id      string
	size    int // of its payload
	done    bool
	receipt fsm.Receipt
	err     error
}

// publish passes a client's message on, or refuses it.
func (c *conn) publish(req protocol.Request) {
	s := c.loop.server
	refused := c.may(auth.Publish, req.Channel)
	switch {
	case refused != nil:
	case len(req.Message) > s.cfg.MaxMessageBytes:
		refused = refusal.New(refusal.MessageTooLarge, "message is too large")
	case c.draining:
		refused = refuseDraining()
	}
	if refused != nil {
		c.refusePublish(refused, req)
		return
	}
	p := &publish{conn: c, channel: req.Channel, id: req.ID, size: len(req.Message)}
	c.pending = append(c.pending, p)
	c.pendingBytes += p.size
	s.metrics.published.Add(1)
	c.loop.count(c.who.Value().Project).Publishes.Add(1)
	c.loop.submit(p, fsm.Publish{
		Channel: fsm.ChannelKey{Project: c.who.Value().Project, Name: req.Channel},
		ID:      req.ID,
		Data:    c.loop.keep(req.Message),
		From:    c.who.Value().Sender(),
	})
}

// refusePublish refuses a publish in its turn: without an id only the order tells which
// publish an answer is about.
func (c *conn) refusePublish(r *refusal.Error, req protocol.Request) {
	if r.Code.CloseCode() != 0 {
		c.refuse(r, req.Channel, req.ID)
		return
	}
	p := &publish{conn: c, channel: req.Channel, id: req.ID, err: r}
	c.pending = append(c.pending, p)
	c.answer(p)
	c.countRefusal(r)
}

// answer notes that p has its outcome and sends the answers that are due. They go out in the
// order of the requests, which is nearly always how they come. One that comes early
// overtakes only those of other channels.
func (c *conn) answer(p *publish) {
	p.done = true
	for len(c.pending) > 0 && c.pending[0].done {
		c.settlePublish(0)
	}
	if at := slices.Index(c.pending, p); at > 0 &&
		!slices.ContainsFunc(c.pending[:at], func(q *publish) bool { return q.channel == p.channel }) {
		c.settlePublish(at)
	}
	if c.draining && len(c.pending) == 0 {
		c.close(closeRestart, "node is draining")
	}
	c.loop.touch(c)
}

// settlePublish answers the publish at a place in pending and takes it out.
func (c *conn) settlePublish(at int) {
	p := c.pending[at]
	c.pendingBytes -= p.size
	if at == 0 {
		c.pending[0] = nil // not to be kept by the array
		c.pending = c.pending[1:]
	} else {
		c.pending = slices.Delete(c.pending, at, at+1)
	}
	c.sendAnswer(p)
}

func (c *conn) sendAnswer(p *publish) {
	if p.err != nil {
		r := c.loop.server.refusalOf(p.err, "publish")
		r = r.Of(c.who.Value().Attempt(auth.Publish, p.channel))
		c.loop.server.refused(r, "ws", c.peer)
		c.sendRefusal(r, p.channel, p.id)
		return
	}
	if c.out.urgent == nil && !c.out.blocked {
		c.out.urgent = c.loop.answers.take()
	}
	c.out.urgent = protocol.AppendPublished(c.out.urgent, p.channel, p.id, p.receipt)
}

// submit collects a message, to be published with all others of this turn. So subscribers
// on other loops get them in one write too.
func (l *loop) submit(p *publish, message fsm.Publish) {
	l.submitted = append(l.submitted, message)
	l.asked = append(l.asked, p)
}

// maxKeptPayloads bounds the room for payloads that a loop keeps from turn to turn.
const maxKeptPayloads = 256 << 10

// keep copies a payload, for as long as it waits in submitted.
func (l *loop) keep(payload []byte) []byte {
	at := len(l.payloads)
	l.payloads = append(l.payloads, payload...)
	return l.payloads[at:len(l.payloads):len(l.payloads)]
}

// sendPublishes passes the messages of this turn to the node.
func (l *loop) sendPublishes() {
	if len(l.submitted) == 0 {
		return
	}
	asked := l.asked
	l.server.cfg.Broker.Publish(l.submitted, func(i int, r fsm.Receipt, err error) {
		p := asked[i]
		p.receipt, p.err = r, err
		l.mail.postAnswer(p)
	})
	clear(l.submitted)
	l.submitted, l.asked = l.submitted[:0], nil
	if l.payloads = l.payloads[:0]; cap(l.payloads) > maxKeptPayloads {
		l.payloads = nil
	}
}

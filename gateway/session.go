package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// request answers one text frame.
func (c *conn) request(frame []byte) {
	req, refusal := parseRequest(frame, c.loop.server.cfg.MaxDepth)
	switch {
	case req.kind == "heartbeat" && refusal == nil:
		// A sign of life. To answer it would start a game of ping-pong that
		// published clients never end.
		c.control()
	case req.kind == "auth" && refusal == nil:
		c.authenticate(req.auth)
	case c.state == stateNew && req.kind == "auth":
		c.refuse(Refuse(CodeAuthRequired, refusal.Reason), "", "")
	case c.state == stateNew:
		c.refuse(Refuse(CodeAuthRequired, "authenticate first"), "", "")
	case refusal != nil && req.kind == "publish":
		c.refusePublish(refusal, req)
	case refusal != nil:
		c.refuseFrame(refusal, req.channel, req.id)
	case req.kind == "publish":
		c.publish(req)
	case req.kind == "subscribe":
		c.subscribe(req)
	case req.kind == "unsubscribe":
		c.ops = append(c.ops, op{channel: req.channel, leave: true})
		c.control()
	case req.kind == "ping":
		c.ping(req.id)
	}
}

// refuseFrame refuses what the client has sent, and closes one that sends such
// things time and again.
func (c *conn) refuseFrame(r *Refusal, channel, id string) {
	c.refuse(r, channel, id)
	c.weary(r)
}

// may decides what the client may do in a channel now.
func (c *conn) may(do action, channel string) *Refusal {
	who := c.who.Value()
	project, found := c.loop.server.cfg.Broker.Project(who.project)
	if !found {
		return Refuse(CodeUnavailable, "the project was deleted").of(who, do, channel)
	}
	if refusal := authorise(who, do, project, channel); refusal != nil {
		return refusal
	}
	return c.throttle(who, do, project, channel)
}

func (c *conn) subscribe(req request) {
	if refusal := c.may(toSubscribe, req.channel); refusal != nil {
		c.refuseFrame(refusal, req.channel, "")
		return
	}
	c.ops = append(c.ops, op{channel: req.channel, start: req.start})
}

// refuse tells the client why not, and closes where the code says so.
func (c *conn) refuse(r *Refusal, channel, id string) {
	c.loop.server.refused(r, "ws", c.peer)
	authenticating := c.state < stateOpen
	passing := r.Code == CodeRateLimited || r.Code == CodeUnavailable
	if authenticating && passing {
		// Without an error frame: published clients take one for the last word.
		c.close(closeTryLater, string(r.Code))
		return
	}
	c.sendRefusal(r, channel, id)
	code := closeCode(answers[r.Code].close)
	switch {
	case code == 0:
	case authenticating && code == closeFinal:
		// Published clients close by themselves when they have read the error.
		c.state, c.closeWith = stateRefused, code
		c.endBy = c.loop.now + c.loop.server.cfg.CloseGrace
		c.loop.wheel.schedule(c, c.endBy)
	default:
		c.close(code, string(r.Code))
	}
}

func (c *conn) sendRefusal(r *Refusal, channel, id string) {
	c.out.urgent = appendRefusal(c.out.urgent, r, channel, id)
	c.loop.touch(c)
}

// publish is a client's publish that has no answer yet.
type publish struct {
	conn    *conn
	channel string
	id      string
	size    int // of its payload
	done    bool
	receipt fsm.Receipt
	err     error
}

func (c *conn) publish(req request) {
	s := c.loop.server
	refusal := c.may(toPublish, req.channel)
	switch {
	case refusal != nil:
	case len(req.message) > s.cfg.MaxMessageBytes:
		refusal = Refuse(CodeMessageTooLarge, "message is too large")
	case c.draining:
		refusal = refuseDraining()
	}
	if refusal != nil {
		c.refusePublish(refusal, req)
		return
	}
	p := &publish{conn: c, channel: req.channel, id: req.id, size: len(req.message)}
	c.pending = append(c.pending, p)
	c.pendingBytes += p.size
	s.metrics.published.Inc()
	c.loop.submit(p, fsm.Publish{
		Channel: fsm.ChannelKey{Project: c.who.Value().project, Name: req.channel},
		ID:      req.id,
		Data:    bytes.Clone(req.message),
		From:    c.who.Value().sender(),
	})
}

// refusePublish refuses a publish in its turn: without an id only the order says
// which one an answer is about.
func (c *conn) refusePublish(r *Refusal, req request) {
	if answers[r.Code].close != 0 {
		c.refuse(r, req.channel, req.id)
		return
	}
	p := &publish{conn: c, channel: req.channel, id: req.id}
	c.pending = append(c.pending, p)
	c.answer(p, fsm.Receipt{}, r)
	c.weary(r)
}

// answer records what became of p and sends what is due. Answers go out in the
// order of the requests, which is nearly always how they come; one that comes
// early overtakes those of other channels only.
func (c *conn) answer(p *publish, r fsm.Receipt, err error) {
	p.done, p.receipt, p.err = true, r, err
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
		r = r.of(c.who.Value(), toPublish, p.channel)
		c.loop.server.refused(r, "ws", c.peer)
		c.sendRefusal(r, p.channel, p.id)
		return
	}
	c.out.urgent = appendPublished(c.out.urgent, p.channel, p.id, p.receipt)
}

// drain closes the connection once its publishes are answered.
func (c *conn) drain() {
	c.draining = true
	if len(c.pending) == 0 {
		c.close(closeRestart, "node is draining")
	}
}

// refusalOf turns an error into what a client may see of it. One that is ours
// to look into is logged under a number that the client is told.
func (s *Server) refusalOf(err error, doing string) *Refusal {
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Refusal{Code: CodeUnavailable, Reason: "no answer in time", RetryAfter: time.Second}
	}
	id := rand.Text()[:12]
	s.cfg.Logger.Error(doing, "request", id, "error", err)
	return Refuse(CodeInternal, "internal error, request "+id)
}

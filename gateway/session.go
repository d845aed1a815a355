package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// request answers one text frame.
func (c *conn) request(frame []byte) {
	req, refused := parseRequest(frame, c.loop.server.cfg.MaxDepth)
	switch {
	case req.kind == "heartbeat" && refused == nil:
		// A sign of life. To answer it would start a game of ping-pong that
		// published clients never end.
		c.control()
	case req.kind == "auth" && refused == nil:
		c.authenticate(req.auth)
	case c.state == stateNew && req.kind == "auth":
		c.refuse(refusal.New(refusal.AuthRequired, refused.Reason), "", "")
	case c.state == stateNew:
		c.refuse(refusal.New(refusal.AuthRequired, "authenticate first"), "", "")
	case refused != nil && req.kind == "publish":
		c.refusePublish(refused, req)
	case refused != nil:
		c.refuseFrame(refused, req.channel, req.id)
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
func (c *conn) refuseFrame(r *refusal.Error, channel, id string) {
	c.refuse(r, channel, id)
	c.weary(r)
}

// may decides what the client may do in a channel now.
func (c *conn) may(do auth.Action, channel string) *refusal.Error {
	who := c.who.Value()
	project, found := c.loop.server.cfg.Broker.Project(who.Project)
	if !found {
		return refusal.New(refusal.Unavailable, "the project was deleted").Of(who.Attempt(do, channel))
	}
	if refused := auth.Authorise(who, do, project, channel); refused != nil {
		return refused
	}
	return c.throttle(who, do, project, channel)
}

func (c *conn) subscribe(req request) {
	if refused := c.may(auth.Subscribe, req.channel); refused != nil {
		c.refuseFrame(refused, req.channel, "")
		return
	}
	c.ops = append(c.ops, op{channel: req.channel, start: req.start})
}

// refuse tells the client why not, and closes where the code says so.
func (c *conn) refuse(r *refusal.Error, channel, id string) {
	c.loop.server.refused(r, "ws", c.peer)
	authenticating := c.state < stateOpen
	passing := r.Code == refusal.RateLimited || r.Code == refusal.Unavailable
	if authenticating && passing {
		// Without an error frame: published clients take one for the last word.
		c.close(closeTryLater, string(r.Code))
		return
	}
	c.sendRefusal(r, channel, id)
	code := closeCode(r.Code.CloseCode())
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

func (c *conn) sendRefusal(r *refusal.Error, channel, id string) {
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
	refused := c.may(auth.Publish, req.channel)
	switch {
	case refused != nil:
	case len(req.message) > s.cfg.MaxMessageBytes:
		refused = refusal.New(refusal.MessageTooLarge, "message is too large")
	case c.draining:
		refused = refuseDraining()
	}
	if refused != nil {
		c.refusePublish(refused, req)
		return
	}
	p := &publish{conn: c, channel: req.channel, id: req.id, size: len(req.message)}
	c.pending = append(c.pending, p)
	c.pendingBytes += p.size
	s.metrics.published.Inc()
	c.loop.submit(p, fsm.Publish{
		Channel: fsm.ChannelKey{Project: c.who.Value().Project, Name: req.channel},
		ID:      req.id,
		Data:    bytes.Clone(req.message),
		From:    c.who.Value().Sender(),
	})
}

// refusePublish refuses a publish in its turn: without an id only the order says
// which one an answer is about.
func (c *conn) refusePublish(r *refusal.Error, req request) {
	if r.Code.CloseCode() != 0 {
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
		r = r.Of(c.who.Value().Attempt(auth.Publish, p.channel))
		c.loop.server.refused(r, "ws", c.peer)
		c.sendRefusal(r, p.channel, p.id)
		return
	}
	c.out.urgent = appendPublished(c.out.urgent, p.channel, p.id, p.receipt)
}

// refusalOf turns an error into what a client may see of it. One that is ours
// to look into is logged under a number that the client is told.
func (s *Server) refusalOf(err error, doing string) *refusal.Error {
	var r *refusal.Error
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &refusal.Error{Code: refusal.Unavailable, Reason: "no answer in time", RetryAfter: time.Second}
	}
	id := rand.Text()[:12]
	s.cfg.Logger.Error(doing, "request", id, "error", err)
	return refusal.New(refusal.Internal, "internal error, request "+id)
}

package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// request answers one text frame.
func (c *conn) request(frame []byte) {
	req, refused := protocol.ParseRequest(frame, c.loop.server.cfg.MaxDepth)
	switch {
	case req.Kind == "heartbeat" && refused == nil:
		// A sign of life. To answer it would start a game of ping-pong that
		// published clients never end.
		c.control()
	case req.Kind == "auth" && refused == nil:
		c.authenticate(req.Auth)
	case c.state == stateNew && req.Kind == "auth":
		c.refuse(refusal.New(refusal.AuthRequired, refused.Reason), "", "")
	case c.state == stateNew:
		c.refuse(refusal.New(refusal.AuthRequired, "authenticate first"), "", "")
	case refused != nil && req.Kind == "publish":
		c.refusePublish(refused, req)
	case refused != nil && req.Kind == "presence":
		refused.PresenceAction = string(req.Action)
		c.refuseFrame(refused, req.Channel, req.ID)
	case refused != nil:
		c.refuseFrame(refused, req.Channel, req.ID)
	case req.Kind == "publish":
		c.publish(req)
	case req.Kind == "subscribe":
		c.subscribe(req)
	case req.Kind == "unsubscribe":
		c.ops = append(c.ops, op{channel: req.Channel, leave: true})
		c.control()
	case req.Kind == "presence":
		c.presence(req)
	case req.Kind == "ping":
		c.ping(req.ID)
	}
}

// knows reports whether the client announced a feature.
func (c *conn) knows(f protocol.Feature) bool { return c.announced.Value().Features&f != 0 }

// pingRate bounds the pings of a connection that are answered.
var pingRate = ratelimit.PerSecond(5, 5)

// ping answers a probe of the client, which browsers cannot send otherwise.
func (c *conn) ping(id string) {
	if wait := c.more().pings.Take(pingRate, c.loop.now); wait > 0 {
		refused := tooMany("of pings on this connection", pingRate, wait)
		c.refuseFrame(refused.Of(c.who.Value().Attempt(auth.NoAction, "")), "", id)
		return
	}
	c.out.urgent = protocol.AppendPong(c.out.urgent, id)
	c.loop.touch(c)
}

// refuseFrame refuses a frame, and closes a client that sends too many such frames.
func (c *conn) refuseFrame(r *refusal.Error, channel, id string) {
	c.refuse(r, channel, id)
	c.countRefusal(r)
}

// may returns why the client may not do something in a channel now, if it may not. It also
// counts the attempt against the rates, so it is called once for each request.
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

// refuse tells the client why its request is refused, and closes the connection where the
// code says so.
func (c *conn) refuse(r *refusal.Error, channel, id string) {
	c.loop.server.refused(r, c.via(), c.peer)
	if c.stream != nil {
		c.refuseStream(r, channel)
		return
	}
	authenticating := c.state < stateOpen
	passing := r.Code == refusal.RateLimited || r.Code == refusal.Unavailable
	if authenticating && passing {
		// Without an error frame: published clients take one for the last word.
		c.close(closeTryLater, clipReason(r.Reason))
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

// maxCloseReason is how many bytes of a reason fit into a close frame (RFC 6455 section 5.5).
const maxCloseReason = 123

// clipReason shortens a reason to what a close frame takes.
func clipReason(reason string) string {
	for len(reason) > maxCloseReason {
		_, last := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-last]
	}
	return reason
}

func (c *conn) sendRefusal(r *refusal.Error, channel, id string) {
	c.out.urgent = protocol.AppendRefusal(c.out.urgent, c.encoding, r, channel, id)
	c.loop.touch(c)
}

// refusalOf turns an error into the part that a client may see. An internal error is
// logged under a number that the client is told.
func (s *Server) refusalOf(err error, doing string) *refusal.Error {
	var r *refusal.Error
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &refusal.Error{Code: refusal.Unavailable, Reason: "no answer in time", RetryAfter: time.Second}
	}
	id := rand.Text()[:12]
	s.cfg.Logger.Error(doing, "request", id, "err", err)
	return refusal.New(refusal.Internal, "internal error, request "+id)
}

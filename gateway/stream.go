package gateway

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/origin"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/sse"
)

// stream is the part of a connection that speaks plain HTTP: it gets events, or is a long
// poll. Its one request subscribes to all its channels, and any refusal ends it.
type stream struct {
	request      *streamRequest // nil once the answer has begun
	poll         *longPoll      // nil for events
	list         uint64         // hash of several channels, part of their cursor
	acknowledged uint64         // by the other end, at the last comment
	block        int32          // bytes of the cursor of several channels at the end of what is being written
	heard        int32          // bytes behind the request
	moved        bool           // the cursor of several channels is not the one last written
	takesEvents  bool           // a passing refusal may come as an event
}

// streamRequest is what the client asks for.
type streamRequest struct {
	text   string // of a key or token
	inURL  bool
	ops    []op
	asked  []string // channels in the order of the request
	origin string   // whose pages may read the answer
}

// begun reports whether the head of the answer is out.
func (s *stream) begun() bool { return s.request == nil }

// maxHeard bounds how much a client may send behind its request.
const maxHeard = 8 << 10

// retryRefused is how long a client of events waits after a passing refusal.
const retryRefused = 2 * time.Second

// The first and the last of the times that clients of events wait before they come back. Each
// has its own, so that those of a node that died do not come all at once.
const (
	retrySoonest = 500 * time.Millisecond
	retryLatest  = 2500 * time.Millisecond
)

// via names the transport of the connection in refusals and metrics.
func (c *conn) via() string {
	switch {
	case c.stream == nil:
		return "ws"
	case c.stream.poll == nil:
		return "sse"
	}
	return "poll"
}

// beginStream serves the request of a connection that is no WebSocket.
func (c *conn) beginStream() {
	f := protocol.AuthFrame{APIKey: c.stream.request.text, Announced: protocol.NothingAnnounced}
	if c.stream.poll == nil {
		f.Announced = protocol.AnnouncesGoAway
	}
	c.authenticate(f)
	c.loop.touch(c)
}

// mayStream refuses a principal that authenticates with what a URL may not have, and a long
// poll of one that has read too much.
func (c *conn) mayStream(who auth.Principal) *refusal.Error {
	s := c.loop.server
	if c.stream != nil && c.stream.poll != nil {
		if refused := s.readings.refuse(who, c.peer.address); refused != nil {
			return refused
		}
	}
	if c.stream == nil || !c.stream.request.inURL || who.Token == nil {
		return nil
	}
	left := time.Duration(who.Token.EndsAt-s.cfg.Broker.Stamp())*time.Millisecond - auth.Leeway
	if left <= s.cfg.URLTokenMax {
		return nil
	}
	return refusal.New(refusal.TokenInvalid,
		"a token in a URL may be good for "+s.cfg.URLTokenMax.String()+" at most (--url-token-max)")
}

// opened subscribes to the channels of the request, now that it is known who asks.
func (c *conn) opened() {
	s, r := c.stream, c.stream.request
	who := c.who.Value()
	if project, _ := c.loop.server.cfg.Broker.Project(who.Project); who.Kind == auth.ServerKey && project != nil &&
		!origin.Judge(project.AllowedOrigins, project.AllowNativeClients, r.origin, c.peer.host.Value()).Allowed {
		r.origin = "" // no page should have this key
	}
	for _, o := range r.ops {
		if refused := c.may(auth.Subscribe, o.channel); refused != nil {
			c.refuse(refused, o.channel, "")
			return
		}
	}
	for _, o := range r.ops {
		r.asked = append(r.asked, o.channel)
	}
	c.ops, r.ops, r.text = r.ops, nil, "" // a poll waits with its request
	if len(r.asked) > 1 {
		s.list = sse.ListOf(slices.Sorted(slices.Values(r.asked)))
	}
	if s.poll != nil {
		s.poll.begin(c)
	}
}

// sayHead begins the answer with events, unless it has begun.
func (c *conn) sayHead() {
	s := c.stream
	if s.begun() {
		return
	}
	head := sse.Answer{Status: http.StatusOK, Origin: s.request.origin, Events: true}
	s.request = nil
	c.out.urgent = head.Append(c.out.urgent, time.Now())
}

// answerSubscribe tells the client how far a channel reaches that it has subscribed to.
func (c *conn) answerSubscribe(sub *subscription, b refusal.Bounds, recovered bool, begin uint64) {
	name := sub.channel.key.Name
	if c.stream != nil {
		if c.stream.poll != nil {
			c.stream.poll.subscribed(sub, b, recovered)
			return
		}
		if !c.stream.begun() {
			c.sayHead()
			spread := uint64((retryLatest - retrySoonest) / time.Millisecond)
			wait := retrySoonest + time.Duration(c.id*2654435761%spread)*time.Millisecond
			c.out.urgent = sse.AppendRetry(c.out.urgent, wait)
		}
		c.stream.moved = true
	}
	c.out.urgent = protocol.AppendSubscribed(c.out.urgent, c.encoding, name, b, recovered, begin)
}

// appendCursor appends the cursor of several channels, if it has moved and all of them have
// begun. It belongs behind everything that waits to be written.
func (c *conn) appendCursor(dst []byte) []byte {
	if c.encoding != protocol.AsBlocks || !c.stream.moved || c.state != stateOpen || len(c.ops) > 0 {
		return dst
	}
	mark := len(dst)
	dst = sse.AppendListCursor(sse.BeginCursor(dst), c.loop.epoch, c.stream.list)
	for i, sub := range c.subs {
		if sub.joining {
			return dst[:mark]
		}
		dst = sse.AppendOffset(dst, i, sub.next-1)
	}
	return sse.EndEvent(dst)
}

// passing reports whether a client may come back after a refusal and be served.
func passing(r *refusal.Error) bool {
	switch r.Code {
	case refusal.RateLimited, refusal.Unavailable, refusal.Internal:
		return true
	}
	return false
}

// refuseStream tells the client why its request is refused, and ends it. Browsers do not come
// back after another status than 200, so a passing refusal is an event to them.
func (c *conn) refuseStream(r *refusal.Error, channel string) {
	if c.state >= stateRefused {
		return
	}
	s := c.stream
	if s.begun() || s.poll == nil && s.takesEvents && passing(r) {
		c.sayHead()
		if passing(r) {
			c.out.urgent = sse.AppendRetry(c.out.urgent, retryRefused)
		}
		c.out.urgent = protocol.AppendRefusal(c.out.urgent, c.encoding, r, channel, "")
	} else {
		if r.Code == refusal.OriginNotAllowed {
			s.request.origin = ""
		}
		c.out.urgent = appendStreamRefusal(c.out.urgent, r, s.request.origin)
		s.request = nil
	}
	c.close(cmp.Or(closeCode(r.Code.CloseCode()), closeTryLater), "")
}

// endStream ends the answer: everything that waits is written, and then the connection ends.
func (c *conn) endStream(reason string) {
	s := c.stream
	if !s.begun() {
		c.out.urgent = appendStreamRefusal(c.out.urgent, &refusal.Error{
			Code: refusal.Unavailable, Reason: cmp.Or(reason, "the connection is closed"), RetryAfter: time.Second,
		}, s.request.origin)
		s.request = nil
	}
	c.halfClose = true
}

// receivedBehind drops what a client sends behind its request. A long poll may be followed by
// another request.
func (c *conn) receivedBehind(p []byte) {
	s := c.stream
	if s.heard += int32(len(p)); s.heard > maxHeard {
		c.end(true)
		return
	}
	if s.poll != nil {
		c.held = append(c.held, p...)
	}
}

// beat sends a sign of life.
func (c *conn) beat() {
	if c.stream != nil {
		c.keepStreamAlive()
		return
	}
	c.out.urgent = append(c.out.urgent, protocol.Heartbeat...)
}

// keepStreamAlive writes a comment, unless the head of the answer is still to come, as that of
// a long poll is while it waits. A client that has acknowledged nothing since the comment
// before is gone: no packet of its system has come since.
func (c *conn) keepStreamAlive() {
	s := c.stream
	if !s.begun() {
		return
	}
	n, known := c.transport.Acknowledged()
	if known && s.acknowledged != 0 && n == s.acknowledged {
		c.close(closeGoingAway, "no sign of life")
		c.end(true)
		return
	}
	s.acknowledged = n
	c.out.urgent = append(c.out.urgent, sse.Comment...)
}

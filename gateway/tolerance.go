package gateway

import (
	"time"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Frames cost a client nothing, and a loop serves many clients. So each connection has its
// turn, and pays for frames that are of no use to anybody:
//
//	per turn   framesPerTurn frames, and more while the turn is young; then the
//	           other connections are heard, and this one goes on in the next turn
//	control    frames that ask for nothing (heartbeats, pings, pongs, unsubscribes):
//	           beyond their rate the connection rests for a while
//	refused    frames that are refused: beyond their rate it is closed, with 1008.
//	           So are fragments of a message beyond the rate of control frames
//
// Only the first binds backends, which have a server key: their frames are refused when
// the cluster is in trouble, which is no fault of theirs.
const (
	framesPerTurn = 32
	youngTurn     = time.Millisecond
	// restTime is the time for which a connection that sends too much is not read.
	restTime = time.Second
	// framesBeforeAuth bounds the heartbeats and the like before auth.
	framesBeforeAuth = 16
	// maxUnprivilegedBytes bounds one read from a client that may not publish, and the
	// part of a frame that is kept.
	maxUnprivilegedBytes = 8 << 10
)

// heard counts a frame and reports whether other connections come first now.
func (c *conn) heard() bool {
	l := c.loop
	if c.heardIn != l.turns {
		c.heardIn, c.heardFrames = l.turns, 0
	}
	if c.heardFrames < framesPerTurn {
		c.heardFrames++
		return false
	}
	return time.Since(l.began)-l.now >= youngTurn
}

// wait has the connection go on in the next turn.
func (c *conn) wait() {
	if !c.waits {
		c.waits = true
		c.loop.waiting = append(c.loop.waiting, c)
	}
}

// hearWaiting reads on from the connections that had more to say in the turn before.
func (l *loop) hearWaiting() {
	waiting := l.waiting
	l.waiting = nil
	for _, c := range waiting {
		c.waits = false
		c.resume()
	}
}

// control counts a frame that asks for nothing.
func (c *conn) control() {
	if c.mayControl() {
		return
	}
	switch c.state {
	case stateNew:
		c.refuse(refusal.New(refusal.AuthRequired, "authenticate first"), "", "")
	case stateOpen:
		refused := tooMany(controlFrames, c.loop.server.tolerance.control, restTime)
		c.rest(refused.Of(c.who.Value().Attempt(auth.NoAction, "")))
	}
}

// fragment counts a part of a message. A client that is only slowed down could send the
// same message for ever.
func (c *conn) fragment() {
	if c.mayControl() {
		return
	}
	switch c.state {
	case stateNew:
		c.refuse(refusal.New(refusal.AuthRequired, "authenticate first"), "", "")
	case stateOpen:
		c.expel(tooMany(controlFrames, c.loop.server.tolerance.control, restTime))
	}
}

const controlFrames = "of frames that ask for nothing on this connection"

// mayControl spends a frame that asks for nothing. A client that was told to go and
// still sends is not read any more.
func (c *conn) mayControl() bool {
	r := c.loop.server.tolerance.control
	switch {
	case c.state == stateNew:
		r = c.loop.server.tolerance.beforeAuth
	case c.state == stateOpen && c.who.Value().Kind == auth.ServerKey:
		return true
	}
	if c.controls.Take(r, c.loop.now) == 0 {
		return true
	}
	if c.state >= stateRefused {
		c.restUntil = max(c.endBy, c.loop.now+c.loop.wheel.step)
	}
	return false
}

// rest tells the client that it sends too much, and does not read it for a while.
func (c *conn) rest(refused *refusal.Error) {
	c.loop.server.refused(refused, "ws", c.peer)
	c.sendRefusal(refused, "", "")
	c.restUntil = c.loop.now + restTime
	c.loop.wheel.schedule(c, c.restUntil)
}

// resting reports whether the connection must not be read yet.
func (c *conn) resting() bool { return c.restUntil > c.loop.now }

// countRefusal counts a refused frame, and closes the connection after too many.
func (c *conn) countRefusal(r *refusal.Error) {
	s := c.loop.server
	if c.state != stateOpen || r.Code == refusal.Unavailable || c.who.Value().Kind == auth.ServerKey {
		return
	}
	if wait := c.refusals.Take(s.tolerance.refused, c.loop.now); wait > 0 {
		c.expel(tooMany("of frames that are refused on this connection", s.tolerance.refused, wait))
		return
	}
	together := c.who.Value().KeyID + " " + clientaddr.NetworkOf(c.peer.address)
	if wait := s.refusedFrames.Take(together, s.tolerance.together); wait > 0 {
		c.expel(tooMany("of frames that are refused from this address with this key", s.tolerance.together, wait))
	}
}

// expel closes a connection because of its frames.
func (c *conn) expel(refused *refusal.Error) {
	s, who := c.loop.server, c.who.Value()
	s.refused(refused.Of(who.Attempt(auth.NoAction, "")), "ws", c.peer)
	s.floods.Take(who.KeyID+" "+clientaddr.NetworkOf(c.peer.address), s.tolerance.flood)
	c.sendRefusal(refused, "", "")
	c.close(closePolicy, string(refused.Code))
}

// flooded returns a refusal for a principal whose connections were closed time and again
// because of their frames.
func (s *Server) flooded(who auth.Principal, address string) *refusal.Error {
	if who.Kind == auth.ServerKey {
		return nil
	}
	if wait := s.floods.Wait(who.KeyID+" "+clientaddr.NetworkOf(address), s.tolerance.flood); wait > 0 {
		return tooMany("of connections that send what is refused", s.tolerance.flood, wait)
	}
	return nil
}

// allowFrames bounds how much of a frame is kept by how much the client has a use for.
func (c *conn) allowFrames() {
	s, who := c.loop.server, c.who.Value()
	project, _ := s.cfg.Broker.Project(who.Project)
	c.frames.Limit, c.frames.Kept = 2*s.cfg.MaxMessageBytes, 0
	if auth.MayPublishAnywhere(who, project) {
		c.transport.ReadAtMost(poll.MaxRead)
		return
	}
	c.frames.Kept = maxUnprivilegedBytes
	c.transport.ReadAtMost(maxUnprivilegedBytes)
}

// tolerance holds the rates of useless frames that a node takes from a client.
type tolerance struct {
	beforeAuth ratelimit.Rate // frames that ask for nothing before auth
	control    ratelimit.Rate // and after
	refused    ratelimit.Rate
	together   ratelimit.Rate // of all connections of a key and address
	flood      ratelimit.Rate // connections of a key and address that were closed for it
}

func newTolerance(l *Limits) tolerance {
	p := tolerance{
		beforeAuth: ratelimit.PerSecond(1, framesBeforeAuth),
		control:    steady(l.ConnectionControl),
		refused:    steady(l.ConnectionRefusal),
		flood:      ratelimit.PerSecond(float64(l.FailedAuthRate), l.FailedAuthBurst),
	}
	// A client that comes back subscribes to all its channels at once, and may
	// leave all of them.
	p.control.Allow(l.MaxChannels)
	p.refused.Allow(l.MaxChannels)
	// As many as ten connections may have by themselves.
	p.together = ratelimit.Rate{Gap: p.refused.Gap / 10, Burst: p.refused.Burst}
	return p
}

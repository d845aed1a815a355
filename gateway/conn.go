package gateway

import (
	"bytes"
	"time"
	"unique"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// connState tells how far a connection has come.
type connState uint8

const (
	stateNew connState = iota // nothing but auth is taken
	stateOpen
	stateRefused // told why; it may go by itself before it is closed
	stateClosing // sent a close frame and waits for the client's
	stateEnded   // the socket is gone
)

// closeCode is a WebSocket close code.
type closeCode = ws.StatusCode

// Close codes of this protocol.
const (
	closeFinal        = ws.StatusNormalClosure   // do not come back
	closeGoingAway    = ws.StatusGoingAway       // silent for too long
	closePolicy       = ws.StatusPolicyViolation // did not authenticate, or sent at a crawl
	closeRestart      = closeCode(1012)          // draining: reconnect
	closeTryLater     = closeCode(1013)          // try again, here or elsewhere
	closeSlowConsumer = closeCode(4008)          // reconnect and resume
	closeDisconnected = closeCode(4009)          // by an operator
)

// closeCodes are all codes that this server closes with of its own accord.
var closeCodes = []closeCode{
	closeFinal, closeGoingAway, closePolicy, closeRestart, closeTryLater, closeSlowConsumer, closeDisconnected,
	ws.StatusProtocolError, ws.StatusUnsupportedData, ws.StatusInvalidFramePayloadData, ws.StatusMessageTooBig,
}

// conn is one client connection. All of it belongs to its loop. Its publishing is in
// publish.go, its subscribing in subscribe.go, and reading the log for it in replay.go.
type conn struct {
	loop            *loop
	transport       poll.Transport
	index           int // in loop.conns
	id              uint64
	peer            peer
	since           int64 // Unix ms
	state           connState
	dirty           bool
	checking        bool // the cluster is asked about a key or token, or the answer waits
	losesEarly      bool // loses an answer that comes at once, see firstAnswerDelay
	draining        bool // to be closed when no publish is unanswered
	unauthenticated bool // is counted among those that have not authenticated
	resetIfFull     bool // to be reset unless its socket takes the close frame at once
	halfClose       bool // to be half-closed behind the close frame, whose answer cannot be read

	who        unique.Handle[auth.Principal] // nobody until open
	endsAt     time.Duration                 // when those rights end, since the loop began; 0 for never
	subscribes ratelimit.Bucket
	extras     *connExtras // nil until it is needed
	announced  unique.Handle[protocol.Announced]

	// Input.
	frames       websocket.Reader
	controls     ratelimit.Bucket // frames that ask for nothing
	refusals     ratelimit.Bucket // frames that were refused
	restUntil    time.Duration    // it is not read before
	paused       bool
	waits        bool   // stands in loop.waiting
	heardFrames  uint16 // in the turn of the loop that heardIn is
	heardIn      uint32
	held         []byte     // read but not yet looked at, while paused
	pending      []*publish // not yet answered, in the order they came
	pendingBytes int        // their payloads

	// Subscriptions.
	subs   []*subscription // by channel name
	behind []*subscription // waiting for their turn to read the log
	ops    []op            // subscribe and unsubscribe, in the order they came

	// Output.
	stream *stream // nil for a WebSocket
	out    outbox

	// Times since the loop began.
	wheelTick     int64 // of its entry in the wheel; 0 for none
	wheelAt       int   // the entry's place in its slot
	authBy        time.Duration
	lastRead      time.Duration
	pinged        bool
	heartbeatDue  bool
	working       bool // a job of this connection is with the workers
	departs       bool // has a time to leave, in loop.departures
	replacement   bool // took the place of another connection, which is not counted any more
	encoding      protocol.Encoding
	closeWith     closeCode // code that a refused connection is closed with
	uncounted     int32     // left out of quotas, the connection and its channels, since another one takes its place
	pingedAt      time.Duration
	frameSince    time.Duration // when the message that is half read began
	nextHeartbeat time.Duration
	progressAt    time.Duration // when the socket last took something
	endBy         time.Duration // refused and closing: when patience ends
}

func newConn(l *loop, p peer, id uint64) *conn {
	cfg := &l.server.cfg
	return &conn{
		loop:            l,
		id:              id,
		peer:            p,
		unauthenticated: true,
		who:             auth.Unauthenticated,
		announced:       protocol.NothingAnnounced,
		since:           time.Now().UnixMilli(),
		frames:          websocket.Reader{Limit: maxUnprivilegedBytes},
		authBy:          l.now + cfg.AuthTimeout,
		lastRead:        l.now,
		nextHeartbeat:   l.now + cfg.Heartbeat,
	}
}

// Received takes bytes of the client. It may change p and does not keep it.
func (c *conn) Received(p []byte) {
	c.lastRead, c.pinged = c.loop.now, false
	if c.stream != nil {
		c.receivedBehind(p)
		return
	}
	c.loop.touch(c)
	if c.paused {
		c.held = append(c.held, p...)
		return
	}
	if left := c.feed(p); len(left) > 0 {
		c.held = bytes.Clone(left)
	}
}

// feed handles bytes frame by frame. It returns those that are left for later: until an
// answer has come, or other connections had their turn.
func (c *conn) feed(p []byte) (left []byte) {
	for len(p) > 0 && c.state != stateEnded {
		if c.heard() {
			c.wait()
		}
		if c.mustPause() {
			c.paused = true
			c.transport.Pause()
			return p
		}
		wasMidway := c.frames.Midway()
		event, payload, n, err := c.frames.Next(p)
		p = p[n:]
		if err != nil {
			c.broken(err.(*websocket.Error)) //nolint:errorlint // the reader returns no other
			return nil
		}
		if !wasMidway && c.frames.Midway() {
			c.frameSince = c.loop.now
			c.loop.wheel.schedule(c, c.loop.now+c.loop.server.cfg.FrameTimeout)
		}
		c.handle(event, payload)
	}
	return nil
}

// mustPause reports whether the client must not be read now. Enough of its requests are
// under way, or it had its turn.
func (c *conn) mustPause() bool {
	return c.checking || c.waits || c.resting() ||
		len(c.pending) >= c.loop.server.cfg.MaxPublishes ||
		c.pendingBytes >= c.loop.server.cfg.MaxPublishBytes ||
		len(c.ops) >= maxOps ||
		len(c.out.urgent) >= maxUrgent
}

// resume goes on with the bytes that were held back.
func (c *conn) resume() {
	if !c.paused || c.mustPause() || c.state == stateEnded {
		return
	}
	held := c.held
	c.paused, c.held = false, nil
	c.lastRead, c.frameSince = c.loop.now, c.loop.now
	c.held = c.feed(held)
	if !c.paused && c.state != stateEnded {
		c.transport.Resume()
	}
	c.loop.touch(c)
}

func (c *conn) handle(event websocket.Event, payload []byte) {
	switch event {
	case websocket.Text:
		if c.state < stateRefused {
			c.request(payload)
		} else {
			c.control()
		}
	case websocket.Dropped:
		if c.state < stateRefused {
			refused := refusal.New(refusal.Forbidden, "who may not publish may send no frame of this size")
			c.refuse(refused.Of(c.who.Value().Attempt(auth.Publish, "")), "", "")
		}
	case websocket.Ping:
		if c.state < stateClosing {
			c.out.urgent = websocket.AppendControl(c.out.urgent, ws.OpPong, payload)
		}
		c.control()
	case websocket.Pong:
		c.control()
	case websocket.Fragment:
		c.fragment()
	case websocket.Close:
		c.closed(payload)
	}
}

// closed handles the client's close frame, which answers ours or is the first.
func (c *conn) closed(payload []byte) {
	if c.state == stateClosing {
		c.end(!c.out.empty())
		return
	}
	code := closeFinal
	if len(payload) >= 2 {
		code, _ = ws.ParseCloseFrameData(payload)
	}
	c.leaveChannels(code == closeFinal || code == closeGoingAway)
	c.close(code, "")
	c.flush()
	c.end(!c.out.empty())
}

// broken closes a connection whose bytes make no sense. Nothing tells where its next
// frame begins, so its close frame is not waited for. The client hangs up when it sees
// that nothing follows.
func (c *conn) broken(err *websocket.Error) {
	if c.state >= stateClosing {
		c.frames = websocket.Reader{Limit: c.frames.Limit}
		return
	}
	if err.Code == ws.StatusMessageTooBig {
		c.refuse(refusal.New(refusal.MessageTooLarge, err.Reason), "", "")
	}
	c.close(err.Code, err.Reason)
	c.halfClose = true
}

// Writable notes that the socket has room again.
func (c *conn) Writable() {
	c.out.blocked = false
	c.progressAt = c.loop.now
	c.loop.touch(c)
}

// Gone ends a connection whose client has hung up or whose socket is broken.
func (c *conn) Gone() { c.end(c.state != stateClosing || !c.out.empty()) }

// settle ends a turn: it writes, goes on reading and has the log read.
func (c *conn) settle() {
	if c.state == stateEnded {
		return
	}
	if c.heartbeatDue && !c.out.blocked {
		c.heartbeatDue = false
		c.beat()
	}
	c.flush()
	if c.state == stateClosing && c.out.empty() {
		if c.reusable() {
			c.reuse()
			return
		}
		if c.halfClose {
			c.halfClose = false
			c.transport.CloseWrite()
			c.endBy = min(c.endBy, c.loop.now+c.loop.server.cfg.CloseGrace)
			c.loop.wheel.schedule(c, c.endBy)
		}
	}
	if c.resetIfFull && c.out.blocked {
		c.end(true)
		return
	}
	c.tellUnseen()
	c.resume()
	c.nextJob()
}

// close tells the client that the connection ends, and why.
func (c *conn) close(code closeCode, reason string) {
	if c.state >= stateClosing {
		return
	}
	c.leaveChannels(code == closeFinal)
	c.forget()
	c.state = stateClosing
	if c.stream != nil {
		c.endStream(reason)
	} else {
		c.out.urgent = websocket.AppendClose(c.out.urgent, code, reason)
	}
	c.endBy = c.loop.now + c.loop.server.cfg.CloseGrace
	c.loop.wheel.schedule(c, c.endBy)
	c.loop.touch(c)
	c.loop.server.metrics.closed(code)
}

// withhold has a closed connection reset if its socket is full. The client would otherwise
// read the bytes in the socket first, and must not be shown anything more.
func (c *conn) withhold() {
	c.resetIfFull = true
	c.loop.touch(c)
}

// forget drops all subscriptions, deliveries and publishes without an answer.
func (c *conn) forget() {
	c.leaveChannels(false)
	c.countAgain()
	for _, sub := range c.subs {
		sub.gone = true
		sub.unwatch()
		sub.channel.leave(sub)
	}
	c.loop.server.quotas.Unsubscribe(c.who.Value().Project, len(c.subs))
	c.subs, c.behind, c.ops, c.pending, c.pendingBytes = nil, nil, nil, nil, 0
	clear(c.out.runs)
	c.out.runs = nil
}

// end lets go of the socket. A reset drops the bytes that it still holds.
func (c *conn) end(reset bool) {
	if c.state == stateEnded {
		return
	}
	c.retire()
	if reset {
		c.transport.Reset()
	} else {
		c.transport.Close()
	}
}

// retire takes the connection out of everything that knows it, except its socket.
func (c *conn) retire() {
	c.forget()
	c.known()
	c.state = stateEnded
	if who := c.who.Value(); who.Kind != auth.Nobody {
		c.loop.server.quotas.Disconnect(who.Project)
	}
	if c.stream != nil {
		c.stream.retire()
	}
	c.held, c.out = nil, outbox{}
	c.loop.wheel.cancel(c)
	c.loop.detach(c)
}

// check does everything that is due by time and has the wheel come back for the next.
func (c *conn) check() {
	now, cfg := c.loop.now, &c.loop.server.cfg
	if c.restUntil != 0 && !c.resting() {
		c.restUntil = 0
		c.loop.touch(c) // to go on reading
	}
	switch c.state {
	case stateEnded:
		return
	case stateNew:
		if now >= c.authBy && !c.checking {
			c.refuse(refusal.New(refusal.AuthTimeout, "no auth frame in time"), "", "")
		}
	case stateRefused:
		if now >= c.endBy {
			c.close(c.closeWith, "")
		}
	case stateOpen:
		if c.endsAt != 0 && now >= c.endsAt {
			refused := refusal.New(refusal.TokenExpired, "the token has expired")
			c.refuse(refused.Of(c.who.Value().Attempt(auth.Connect, "")), "", "")
			break
		}
		if c.stream.waited(now) {
			c.loop.touch(c)
		}
		if now >= c.nextHeartbeat {
			c.nextHeartbeat += cfg.Heartbeat
			c.heartbeatDue = true
			c.loop.server.cfg.Broker.KeyUsed(c.who.Value().KeyID)
			c.loop.touch(c)
		}
	}
	if c.state == stateClosing {
		if now >= c.endBy && c.stream.answering() && !c.out.empty() && !c.stalled(now) {
			c.endBy = c.progressAt + cfg.StallTimeout
		}
		if now >= c.endBy {
			c.end(!c.out.empty())
			return
		}
		c.loop.wheel.schedule(c, c.endBy)
		return
	}
	c.checkLiveness(now)
	if c.state < stateClosing {
		c.loop.wheel.schedule(c, c.nextCheck())
	}
}

func (c *conn) checkLiveness(now time.Duration) {
	cfg := &c.loop.server.cfg
	switch {
	case c.out.blocked && c.stalled(now):
		c.close(closeSlowConsumer, "slow_consumer")
	case c.stream != nil:
		// Its comments show whether the client is there.
	case c.paused:
		// The client is silent because it is not read.
	case c.pinged && now-c.pingedAt >= cfg.SilenceTimeout-cfg.PingAfter:
		// Counted from the ping: were it from the last sign of life, a loop that
		// was stopped for a while would close everybody unheard.
		c.close(closeGoingAway, "no sign of life")
	case c.frames.Midway() && now-c.frameSince >= cfg.FrameTimeout:
		c.close(closePolicy, "message took too long to arrive")
	case now-c.lastRead >= cfg.PingAfter && !c.pinged:
		c.pinged, c.pingedAt = true, now
		c.out.urgent = websocket.AppendControl(c.out.urgent, ws.OpPing, nil)
		c.loop.touch(c)
	}
}

// stalled reports whether the client has taken nothing for too long. A slow client takes
// bytes long before the socket has room again.
func (c *conn) stalled(now time.Duration) bool {
	if n, ok := c.transport.Acknowledged(); ok && n > c.out.acknowledged {
		c.out.acknowledged, c.progressAt = n, now
	}
	return now-c.progressAt >= c.loop.server.cfg.StallTimeout
}

// nextCheck returns when something is due next. Things with an entry of their own in the
// wheel are left out.
func (c *conn) nextCheck() time.Duration {
	cfg := &c.loop.server.cfg
	at := c.lastRead + cfg.PingAfter
	switch {
	case c.stream != nil:
		at = c.stream.until(c.loop.now + cfg.PingAfter)
	case c.paused:
		at = c.loop.now + cfg.PingAfter
	case c.pinged:
		at = c.pingedAt + cfg.SilenceTimeout - cfg.PingAfter
	}
	if c.restUntil != 0 {
		at = min(at, c.restUntil)
	}
	switch c.state {
	case stateNew:
		if !c.checking {
			at = min(at, c.authBy)
		}
	case stateRefused:
		at = min(at, c.endBy)
	case stateOpen:
		at = min(at, c.nextHeartbeat)
		if c.endsAt != 0 {
			at = min(at, c.endsAt)
		}
	}
	if c.out.blocked {
		at = min(at, c.progressAt+cfg.StallTimeout, c.loop.now+cfg.StallTimeout/stallChecks)
	}
	if c.frames.Midway() && !c.paused {
		at = min(at, c.frameSince+cfg.FrameTimeout)
	}
	return at
}

package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/sse"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// longPoll gathers what its connection is sent, and answers with all of it: as soon as there
// is something and nothing more can be had at once, or when the client has waited enough.
// What is there already is read first, so a client that does not wait at all gets it, too.
// An answer larger than longPollSmall counts among the answers with history, which are
// bounded by node, key and address.
type longPoll struct {
	wait      time.Duration
	keepAlive bool            // the client may send its next request on the connection
	from      netip.Addr      // of the socket
	client    netip.Addr      // that a proxy speaks for
	proven    func(auth.Kind) // told when the client has authenticated, where net/http has its socket

	until    time.Duration // it answers then, since the loop began
	parts    []pollPart    // in the order of the request
	messages int
	bytes    int
	gaps     int
	full     bool   // nothing more fits
	answered bool   // the answer is being written
	leave    func() // counts a large answer out
}

// Bounds of an answer.
const (
	longPollMessages = 1000
	longPollBytes    = 1 << 20
	longPollSmall    = 64 << 10
	longPollFree     = 8 << 10 // beyond, an answer counts as history that is read
)

// pollPart is what one channel has in the answer.
type pollPart struct {
	sub       *subscription
	name      string
	bounds    refusal.Bounds
	recovered bool
	gap       span   // next 0 for none
	messages  []byte // elements of a list
}

// begin begins to wait.
func (p *longPoll) begin(c *conn) {
	if p.proven != nil {
		p.proven(c.who.Value().Kind)
	}
	p.until = c.loop.now + p.wait
	p.parts = make([]pollPart, len(c.stream.request.asked))
	for i, name := range c.stream.request.asked {
		p.parts[i].name = name
	}
	c.loop.wheel.schedule(c, p.until)
}

// subscribed notes how far a channel reaches.
func (p *longPoll) subscribed(sub *subscription, b refusal.Bounds, recovered bool) {
	part := p.part(sub.channel.key.Name)
	part.sub, part.bounds, part.recovered = sub, b, recovered
}

func (p *longPoll) part(name string) *pollPart {
	return &p.parts[slices.IndexFunc(p.parts, func(part pollPart) bool { return part.name == name })]
}

// gatherForPoll moves the deliveries of a long poll into its answer, and answers when it is
// time to. It reports whether the connection is a long poll that still waits.
func (c *conn) gatherForPoll() bool {
	if c.stream == nil || c.stream.poll == nil || c.state != stateOpen {
		return false
	}
	p := c.stream.poll
	for i := range c.out.runs {
		d := &c.out.runs[i]
		if at := p.take(c, d); at < len(d.frames.ends) {
			p.full = true
			c.giveBack(i, at)
			break
		}
	}
	clear(c.out.runs)
	c.out.runs = nil
	switch {
	case c.working || len(c.ops) > 0:
	case p.full, len(c.behind) == 0 && (p.messages+p.gaps > 0 || c.loop.now >= p.until):
		c.answerPoll()
		return false
	}
	return true
}

// take gathers a delivery, and returns the first frame that it has no room for.
func (p *longPoll) take(c *conn, d *delivery) (at int) {
	part := p.part(d.sub.channel.key.Name)
	if len(d.frames.bytes) == 0 {
		if part.gap.next > 0 || len(part.messages) > 0 {
			return 0 // one channel has at most one gap, in front of its messages
		}
		part.gap, p.gaps = span{d.first, d.after}, p.gaps+1
		return len(d.frames.ends)
	}
	for at = d.skip; at < len(d.frames.ends); at++ {
		frame := d.frames.bytes[startOf(d.frames, at):d.frames.ends[at]]
		if !p.fits(c, len(frame)) {
			return at
		}
		if len(part.messages) > 0 {
			part.messages = append(part.messages, ',')
		}
		part.messages = append(part.messages, frame...)
		p.messages++
		p.bytes += len(frame)
	}
	return at
}

// fits reports whether the answer has room for a message. It always has for the first one.
func (p *longPoll) fits(c *conn, size int) bool {
	if p.messages == 0 {
		return true
	}
	if p.messages == longPollMessages || p.bytes+size > longPollBytes {
		return false
	}
	if p.bytes+size <= longPollSmall || p.leave != nil {
		return true
	}
	who, network := c.who.Value(), clientaddr.NetworkOf(c.peer.address)
	leave, full := c.loop.server.readings.inFlight.Enter(who.KeyID, network, bound(who), 1)
	p.leave = leave
	return full == ""
}

// answerPoll answers with what was gathered.
func (c *conn) answerPoll() {
	s, p := c.stream, c.stream.poll
	body := p.append(nil, c)
	_, bare := c.transport.(poll.Socket)
	if relay, relayed := c.transport.(*pollRelay); relayed {
		relay.leave, p.leave = p.leave, nil // once it is written
	}
	p.keepAlive = p.keepAlive && bare && !c.draining && !c.loop.server.draining.Load()
	head := sse.Answer{Status: http.StatusOK, Origin: s.request.origin, KeepAlive: p.keepAlive, Length: len(body)}
	c.out.urgent = append(head.Append(c.out.urgent, time.Now()), body...)
	if p.bytes > longPollFree {
		c.loop.server.readings.charge(c.who.Value(), c.peer.address, p.bytes)
	}
	c.countDelivered(p.messages + p.gaps)
	c.forget()
	c.state, p.answered, p.parts = stateClosing, true, nil
	s.request, c.halfClose = nil, !p.keepAlive
	c.progressAt = c.loop.now
	c.endBy = c.loop.now + c.loop.server.cfg.StallTimeout
	c.loop.wheel.schedule(c, c.endBy)
	c.loop.touch(c)
}

// append appends the answer as JSON text.
func (p *longPoll) append(dst []byte, c *conn) []byte {
	epoch := c.loop.epoch
	dst = append(dst, `{"cursor":"`...)
	if len(c.subs) == 1 {
		dst = sse.AppendCursor(dst, epoch, c.subs[0].next-1)
	} else {
		dst = sse.AppendListCursor(dst, epoch, c.stream.list)
		for i, sub := range c.subs {
			dst = sse.AppendOffset(dst, i, sub.next-1)
		}
	}
	dst = append(dst, `","epoch":`...)
	dst = append(strictjson.AppendQuoted(dst, epoch), `,"channels":[`...)
	for i := range p.parts {
		part := &p.parts[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strictjson.AppendQuoted(append(dst, `{"channel":`...), part.name)
		dst = strconv.AppendUint(append(dst, `,"offset":`...), max(part.bounds.Head, part.sub.channel.head), 10)
		dst = strconv.AppendUint(append(dst, `,"earliest":`...), part.bounds.Earliest, 10)
		dst = strconv.AppendBool(append(dst, `,"recovered":`...), part.recovered)
		if part.gap.next == 0 {
			dst = append(dst, `,"gap":null`...)
		} else {
			dst = strconv.AppendUint(append(dst, `,"gap":{"from":`...), part.gap.next, 10)
			dst = append(strconv.AppendUint(append(dst, `,"to":`...), part.gap.end-1, 10), '}')
		}
		dst = append(append(append(dst, `,"messages":[`...), part.messages...), "]}"...)
	}
	return append(dst, "]}\n"...)
}

// waited reports whether a long poll must be answered by now.
func (s *stream) waited(now time.Duration) bool {
	return s != nil && s.poll != nil && now >= s.poll.until
}

// until returns when the connection is looked at next, at the latest at the time given.
func (s *stream) until(latest time.Duration) time.Duration {
	if s.poll != nil && s.poll.until > 0 {
		return min(latest, s.poll.until)
	}
	return latest
}

// answering reports whether a long poll is being answered.
func (s *stream) answering() bool { return s != nil && s.poll != nil && s.poll.answered }

// answerNow answers a long poll before its time, once its channels are looked up. It reports
// false for everything else.
func (s *stream) answerNow(c *conn) bool {
	if s == nil || s.poll == nil || c.state != stateOpen {
		return false
	}
	s.poll.until = c.loop.now
	c.loop.touch(c)
	return true
}

// retire ends what the connection has counted in.
func (s *stream) retire() {
	if s.poll != nil && s.poll.leave != nil {
		s.poll.leave()
		s.poll.leave = nil
	}
}

// reusable reports whether the socket waits for the client's next request.
func (c *conn) reusable() bool { return c.stream.answering() && c.stream.poll.keepAlive }

// reuse ends the connection, and has its socket wait for the client's next request.
func (c *conn) reuse() {
	p, socket, early := c.stream.poll, c.transport.(poll.Socket), c.held
	c.retire()
	c.loop.keepAlive(socket, p.from, p.client, early)
}

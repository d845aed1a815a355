package gateway

import (
	"bytes"

	"github.com/aptlyd/aptlyd/gateway/protocol"
)

// outbox holds everything that waits to be written to a connection, in three parts that
// are written in this order:
//
//	partial   the rest of a delivery's frame that was half written
//	urgent    everything that is not in the log: answers, errors, pings, the close
//	runs      deliveries of this turn, whose frames others share
//
// Deliveries never wait in memory: those that the socket does not take at once become a
// cursor again. So a connection holds at most one frame, the answers to its admitted
// requests, and one page of the log.
type outbox struct {
	partial []byte
	urgent  []byte
	runs    []delivery
	blocked bool // the socket is full: writable will follow

	acknowledged uint64 // by the other end while blocked, as last seen
}

// stallChecks is the number of checks of a blocked socket within StallTimeout.
const stallChecks = 8

// maxUrgent bounds the bytes of answers that may wait before a connection's next request
// is read.
const maxUrgent = 64 << 10

// delivery holds frames of one subscription from frames[skip] on. The frame at skip has
// the offset first, and those behind it have the offsets that follow. A gap is one frame
// for several offsets.
type delivery struct {
	sub      *subscription
	frames   frameRun
	skip     int
	first    uint64 // 0 when the frames have no offset and cannot be had again
	after    uint64 // the offset that is wanted next
	backfill bool   // belongs to the subscription's backfill, not to its cursor
	members  bool   // tells a watcher of members, in one frame
}

func (d *delivery) bytes() []byte {
	if d.skip == 0 {
		return d.frames.bytes
	}
	return d.frames.bytes[d.frames.ends[d.skip-1]:]
}

// queue adds a delivery to this turn's.
func (c *conn) queue(d delivery) {
	c.out.runs = append(c.out.runs, d)
	if c.encoding == protocol.AsBlocks && d.first != 0 {
		c.stream.moved = true
	}
	c.loop.touch(c)
}

func (o *outbox) empty() bool { return len(o.partial) == 0 && len(o.urgent) == 0 }

// flush writes as much as the socket takes, joined into one write.
func (c *conn) flush() {
	o := &c.out
	if o.blocked || c.state == stateEnded || c.gatherForPoll() {
		return
	}
	buf := c.joined()
	if len(buf) == 0 {
		return
	}
	n, err := c.transport.Write(buf)
	if err != nil {
		c.end(true)
		return
	}
	c.progressAt = c.loop.now
	o.blocked = n < len(buf)
	c.account(buf, n)
	if o.blocked {
		o.acknowledged, _ = c.transport.Acknowledged()
		c.loop.wheel.schedule(c, c.loop.now+c.loop.server.cfg.StallTimeout/stallChecks)
	}
}

// joined returns everything that waits to be written. It is valid until the next call on
// this loop.
func (c *conn) joined() []byte {
	o := &c.out
	kept := o.runs[:0]
	for _, d := range o.runs {
		if !d.sub.gone {
			kept = append(kept, d)
		}
	}
	clear(o.runs[len(kept):])
	o.runs = kept
	several := c.encoding == protocol.AsBlocks // whose cursor follows
	if o.empty() && len(o.runs) == 1 && !several {
		return o.runs[0].bytes()
	}
	if len(o.partial) == 0 && len(o.runs) == 0 && !several {
		return o.urgent
	}
	buf := append(c.loop.scratch[:0], o.partial...)
	buf = append(buf, o.urgent...)
	for i := range o.runs {
		buf = append(buf, o.runs[i].bytes()...)
	}
	if several {
		mark := len(buf)
		buf = c.appendCursor(buf)
		c.stream.block = int32(len(buf) - mark)
	}
	if cap(buf) <= 4*commitBytesPerTurn {
		c.loop.scratch = buf
	}
	return buf
}

// account takes the n bytes of buf that were written off the outbox. The deliveries that
// were not written go back to their subscriptions.
func (c *conn) account(buf []byte, n int) {
	o := &c.out
	c.loop.server.metrics.sent.Add(uint64(n))
	n -= cut(&o.partial, n)
	urgent := o.urgent
	n -= cut(&o.urgent, n)
	if o.urgent == nil {
		c.loop.answers.give(urgent)
	} else {
		o.urgent = bytes.Clone(o.urgent) // may wait for long, in a buffer of some other size
	}
	delivered, unwritten, at := 0, 0, 0 // at is the first frame of that run that was not begun
	for ; unwritten < len(o.runs); unwritten++ {
		d := &o.runs[unwritten]
		size := len(d.bytes())
		if n < size {
			at = c.finishLater(d, n)
			if !d.members {
				delivered += at - d.skip
			}
			break
		}
		n -= size
		if d.members {
			d.sub.toldMembers(d, true)
			continue
		}
		delivered += len(d.frames.ends) - d.skip
	}
	if c.encoding == protocol.AsBlocks && unwritten == len(o.runs) && n > 0 {
		// A cursor of which the client has a part must be written to its end.
		c.stream.moved = false
		if rest := int(c.stream.block) - n; rest > 0 {
			o.partial = append([]byte(nil), buf[len(buf)-rest:]...)
		}
	}
	c.giveBack(unwritten, at)
	c.countDelivered(delivered)
}

// countDelivered counts message and gap frames that were written.
func (c *conn) countDelivered(n int) {
	if n > 0 {
		c.loop.server.metrics.delivered.Add(uint64(n))
		c.loop.count(c.who.Value().Project).Deliveries.Add(uint64(n))
	}
}

// giveBack empties the runs. Those from a place on were not written, the first of them from
// frame at on, and go back to their subscriptions.
func (c *conn) giveBack(unwritten, at int) {
	o := &c.out
	// The last first: each goes back in front of what came after it.
	for i := len(o.runs) - 1; i > unwritten; i-- {
		o.runs[i].sub.rewind(&o.runs[i], o.runs[i].skip)
	}
	if unwritten < len(o.runs) {
		o.runs[unwritten].sub.rewind(&o.runs[unwritten], at)
	}
	clear(o.runs)
	if o.runs = o.runs[:0]; cap(o.runs) > 4 {
		o.runs = nil
	}
}

// finishLater keeps the rest of the frame in which the n written bytes of d end. That
// must be written before anything else. It returns the first frame not begun.
func (c *conn) finishLater(d *delivery, n int) (at int) {
	written := len(d.frames.bytes) - len(d.bytes()) + n
	for at = d.skip; d.frames.ends[at] <= written; {
		at++
	}
	if written > startOf(d.frames, at) {
		c.out.partial = append([]byte(nil), d.frames.bytes[written:d.frames.ends[at]]...)
		at++
	}
	return at
}

func startOf(frames frameRun, i int) int {
	if i == 0 {
		return 0
	}
	return frames.ends[i-1]
}

// cut takes up to n bytes off the front and lets go of the memory when nothing is left.
func cut(p *[]byte, n int) int {
	n = min(n, len(*p))
	if *p = (*p)[n:]; len(*p) == 0 {
		*p = nil
	}
	return n
}

// spareBuffers are buffers for the answers of connections, which most often take them no
// longer than a turn.
type spareBuffers [][]byte

// Bounds of what is kept: so many buffers, none larger than what may wait of a connection.
const (
	maxSpareBuffers = 16
	maxSpareBytes   = maxUrgent
)

// take returns an empty buffer, nil when there is none.
func (s *spareBuffers) take() (buf []byte) {
	if last := len(*s) - 1; last >= 0 {
		buf, (*s)[last] = (*s)[last], nil
		*s = (*s)[:last]
	}
	return buf
}

// give takes a buffer that is not used any more.
func (s *spareBuffers) give(buf []byte) {
	if len(*s) < maxSpareBuffers && cap(buf) > 0 && cap(buf) <= maxSpareBytes {
		*s = append(*s, buf[:0])
	}
}

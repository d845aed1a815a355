package gateway

import (
	"slices"

	"github.com/aptlyd/aptlyd/gateway/protocol"
)

// subscription is a cursor of one connection in one channel. It is live while next is
// the next message of its channel. Otherwise it stands in the connection's queue of
// those that read the log, and becomes live again at the head. A subscriber that asks
// for the past and one whose socket is full are the same thing.
type subscription struct {
	conn    *conn
	channel *localChannel
	watch   *watch // of the channel's members; nil unless the client asked for them
	index   int32  // in channel.subs

	joining bool // how far the channel reaches is not known yet
	live    bool
	queued  bool // stands in conn.behind
	gone    bool // unsubscribed, or its connection has ended

	next     uint64 // the offset wanted next
	replayTo uint64 // the head when the client subscribed
	low      uint64 // the lowest offset that is sent or will be
	backfill []span // offsets before low that a later subscribe wants
}

// span is a range of offsets still to be sent.
type span struct {
	next, end uint64 // end is not part of it
}

// fallBehind makes the subscription read the log for its next messages.
func (sub *subscription) fallBehind() {
	sub.live = false
	sub.enqueue()
}

// enqueue puts the subscription into the queue of those that read the log.
func (sub *subscription) enqueue() {
	if !sub.queued && !sub.gone {
		sub.queued = true
		sub.conn.behind = append(sub.conn.behind, sub)
		sub.conn.loop.touch(sub.conn)
	}
}

// rewind moves the cursor back to frame at of a delivery that was not written.
func (sub *subscription) rewind(d *delivery, at int) {
	if d.members {
		sub.toldMembers(d, at > 0)
		return
	}
	if d.first == 0 || at >= len(d.frames.ends) || sub.gone {
		return
	}
	offset := d.first + uint64(at-d.skip)
	switch {
	case !d.backfill:
		if offset < sub.next {
			sub.next = offset
		}
		sub.live = false
	case len(sub.backfill) > 0 && sub.backfill[0].next == d.after:
		sub.backfill[0].next = offset
	default:
		sub.backfill = slices.Insert(sub.backfill, 0, span{offset, d.after})
	}
	sub.enqueue()
}

// gap tells the client that the offsets from from up to but not including to will not
// come. The client expects them: a cursor begins at the offset that it has asked for or,
// without one, at the earliest that "subscribed" named.
func (sub *subscription) gap(from, to uint64, backfill bool) {
	if from >= to {
		return
	}
	c := sub.conn
	var frame []byte // a long poll has a member for it
	if c.encoding != protocol.AsItems {
		frame = protocol.AppendGap(nil, c.encoding, sub.channel.key.Name, c.loop.epoch, from, to-1)
	}
	c.loop.server.metrics.gaps.Inc()
	c.queue(delivery{
		sub: sub, frames: frameRun{frame, []int{len(frame)}}, first: from, after: to, backfill: backfill,
	})
}

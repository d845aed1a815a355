package gateway

import (
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// localChannel is one channel with the subscribers that a loop has for it.
type localChannel struct {
	loop   *loop
	key    fsm.ChannelKey
	subs   []*subscription
	head   uint64  // the highest offset this loop has heard of
	latest *commit // of this turn, not yet delivered

	underway []*page // being read
	pages    []*page // in the loop's cache, the oldest first
}

func (ch *localChannel) join(sub *subscription) {
	sub.channel, sub.index = ch, int32(len(ch.subs))
	ch.subs = append(ch.subs, sub)
	ch.loop.countSubscribers(ch)
}

func (ch *localChannel) leave(sub *subscription) {
	last := len(ch.subs) - 1
	ch.subs[sub.index] = ch.subs[last]
	ch.subs[sub.index].index = sub.index
	ch.subs[last] = nil
	ch.subs = ch.subs[:last]
	ch.loop.countSubscribers(ch)
	if last == 0 {
		delete(ch.loop.channels, ch.key)
		if s := ch.loop.server; s.interest.remove(ch.key, ch.loop.index) {
			s.cfg.Broker.DropInterest(ch.key)
		}
	}
}

// deliver gives a commit to the subscribers whose cursor it continues. The others read
// it from the log when their turn comes.
func (ch *localChannel) deliver(c *commit) {
	if c.transient {
		ch.deliverTransient(c)
		return
	}
	first, last := c.messages[0].Offset, c.messages[len(c.messages)-1].Offset
	var runs [protocol.Encodings]frameRun
	for _, sub := range ch.subs {
		if !sub.live || sub.next > last {
			continue
		}
		if sub.next < first || sub.conn.out.blocked {
			sub.fallBehind()
			continue
		}
		as := sub.conn.encoding
		if runs[as].bytes == nil {
			runs[as] = encodeMessages(ch.key.Name, ch.loop.epoch, c.messages, false, as)
		}
		sub.conn.queue(delivery{
			sub: sub, frames: runs[as], skip: int(sub.next - first), first: sub.next, after: last + 1,
		})
		sub.next = last + 1
	}
	ch.head = max(ch.head, last)
}

// deliverTransient gives messages without offset to the subscribers that can take them
// now.
func (ch *localChannel) deliverTransient(c *commit) {
	var runs [protocol.Encodings]frameRun
	for _, sub := range ch.subs {
		if sub.joining || sub.conn.out.blocked {
			continue
		}
		as := sub.conn.encoding
		if runs[as].bytes == nil {
			runs[as] = encodeMessages(ch.key.Name, ch.loop.epoch, c.messages, false, as)
		}
		sub.conn.queue(delivery{sub: sub, frames: runs[as]})
	}
}

// raise notes that the channel reaches head when the messages themselves were dropped.
func (ch *localChannel) raise(head uint64) {
	ch.head = max(ch.head, head)
	for _, sub := range ch.subs {
		if sub.live && sub.next <= head {
			sub.fallBehind()
		}
	}
}

// recheck has every subscriber ask the log how far the channel reaches. Reads under way
// were asked for before, so nobody joins them.
func (ch *localChannel) recheck() {
	ch.underway = nil
	for _, sub := range ch.subs {
		if sub.live {
			sub.fallBehind()
		}
	}
}

// frameRun holds encoded frames back to back. It is shared and never changed.
type frameRun struct {
	bytes []byte
	ends  []int // where each frame ends
}

// encodeMessages encodes messages for connections of one encoding.
func encodeMessages(name, epoch string, messages []fsm.Message, replayed bool, as protocol.Encoding) frameRun {
	var space [auth.MaxChannelName + 2]byte // enough unless much of the name is escaped
	channel, size := strictjson.AppendQuoted(space[:0], name), 0
	for i := range messages {
		size += len(messages[i].Data) + len(channel) + 112
	}
	if as == protocol.AsEvents {
		size += len(messages) * (len(epoch) + 32)
	}
	run := frameRun{bytes: make([]byte, 0, size), ends: make([]int, 0, len(messages))}
	for _, m := range messages {
		switch as {
		case protocol.AsFrames:
			run.bytes = protocol.AppendMessage(run.bytes, channel, m, replayed)
		case protocol.AsItems:
			run.bytes = appendHistoryMessage(run.bytes, m)
		default:
			run.bytes = protocol.AppendEvent(run.bytes, channel, m, replayed, as, epoch)
		}
		run.ends = append(run.ends, len(run.bytes))
	}
	return run
}

// commit is a run of messages that a loop delivers to the subscribers of one channel.
type commit struct {
	channel   fsm.ChannelKey
	messages  []fsm.Message
	transient bool // never logged: has no offset

	// Of the loop that delivers it.
	local *localChannel
	owned bool // messages is not shared with others
}

// About what a commit and each of its messages take besides names and payloads.
const (
	commitOverhead  = 80
	messageOverhead = 40
)

// bytes returns about how much memory the commit takes.
func (c *commit) bytes() int {
	size := commitOverhead + len(c.messages)*messageOverhead
	for i := range c.messages {
		size += len(c.messages[i].Data)
	}
	return size
}

// absorb joins next, of the same channel, to c. It reports false when the two are not of
// one kind or leave out an offset.
func (c *commit) absorb(next *commit) bool {
	if c.transient != next.transient ||
		!c.transient && next.messages[0].Offset != c.messages[len(c.messages)-1].Offset+1 {
		return false
	}
	if !c.owned {
		c.messages, c.owned = slices.Clip(c.messages), true
	}
	c.messages = append(c.messages, next.messages...)
	return true
}

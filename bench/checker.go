package bench

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// A Checker compares the promises to publishers with the deliveries to subscribers. It
// trusts neither the broker nor the client package. Offsets must count from 1 without a
// hole and stand for the same message everywhere. Every acknowledged message must be there
// once, under the offset of its receipt. The channels must be new.
type Checker struct {
	channels   []*channelLog
	publishers []*publisherLog

	mu       sync.Mutex
	verdict  Verdict
	problems []string
}

// Verdict counts deliveries and broken promises.
type Verdict struct {
	Delivered  uint64 `json:"delivered"`  // messages, to each subscriber
	Lost       uint64 `json:"lost"`       // acknowledged, and some subscriber never got it; counted per subscriber
	Duplicated uint64 `json:"duplicated"` // delivered again, or stored again under a second offset
	OutOfOrder uint64 `json:"outOfOrder"` // any offset but the one that follows, or a message under two offsets
	Corrupt    uint64 `json:"corrupt"`    // sent by no publisher
	Expired    uint64 `json:"expired"`    // acknowledged, but announced to a subscriber as no longer retained
}

// Broken reports whether a promise was broken.
func (v Verdict) Broken() bool {
	return v.Lost+v.Duplicated+v.OutOfOrder+v.Corrupt > 0
}

// maxProblems bounds the problems described in words.
const maxProblems = 20

// pageSize is the number of records that the logs allocate at a time.
const pageSize = 4096

// publicationID identifies one message of one publisher; 0 is none.
type publicationID uint64

func newPublicationID(publisher int, sequence uint64) publicationID {
	return publicationID(uint64(publisher)<<48 | sequence)
}

func (id publicationID) publisher() int   { return int(id >> 48) }
func (id publicationID) sequence() uint64 { return uint64(id) & (1<<48 - 1) }

func (id publicationID) String() string {
	return fmt.Sprintf("message %d of publisher %d", id.sequence(), id.publisher())
}

// channelLog is one channel as its subscribers received it.
type channelLog struct {
	mu        sync.Mutex
	pages     map[uint64]*[pageSize]publicationID // by offset / pageSize
	observers []*Observer
	acked     atomic.Uint64 // highest offset in a receipt
}

// publisherLog is one publisher's messages by sequence number.
type publisherLog struct {
	mu      sync.Mutex
	records []*[pageSize]record
}

// record is the knowledge about one message.
type record struct {
	channel int32
	once    bool   // it was sent a single time, so that order is promised
	acked   uint64 // offset in its receipt
	seen    uint64 // offset that a subscriber got it under
}

// NewChecker returns a checker for channels and publishers numbered from 0.
func NewChecker(channels, publishers int) *Checker {
	c := &Checker{}
	for range channels {
		c.channels = append(c.channels, &channelLog{pages: make(map[uint64]*[pageSize]publicationID)})
	}
	for range publishers {
		c.publishers = append(c.publishers, &publisherLog{})
	}
	return c
}

// Observer is one subscriber of one channel. Its methods other than Reached
// must be called by one goroutine, in the order of arrival.
type Observer struct {
	checker *Checker
	channel int
	last    atomic.Uint64 // highest offset accounted for
	missing spans         // skipped without a word
	expired spans         // announced as a gap
}

// Observe adds a subscriber of a channel, from its first message on.
func (c *Checker) Observe(channel int) *Observer {
	o := &Observer{checker: c, channel: channel}
	log := c.channels[channel]
	log.mu.Lock()
	defer log.mu.Unlock()
	log.observers = append(log.observers, o)
	return o
}

// Message records a delivery.
func (o *Observer) Message(offset uint64, publisher int, sequence uint64) {
	c := o.checker
	if publisher >= len(c.publishers) || sequence == 0 || offset == 0 {
		c.count(func(v *Verdict) { v.Corrupt++ },
			"channel %d: offset %d holds message %d of publisher %d, which is none of ours",
			o.channel, offset, sequence, publisher)
		return
	}
	last := o.last.Load()
	switch {
	case offset == last+1:
		o.last.Store(offset)
	case offset > last:
		c.count(func(v *Verdict) { v.OutOfOrder++ }, "channel %d: offset %d came after %d", o.channel, offset, last)
		o.missing.add(last+1, offset-1)
		o.last.Store(offset)
	case o.missing.remove(offset):
		c.count(func(v *Verdict) { v.OutOfOrder++ }, "channel %d: offset %d came after %d", o.channel, offset, last)
	default:
		c.count(func(v *Verdict) { v.Duplicated++ }, "channel %d: offset %d came again", o.channel, offset)
		return
	}
	c.saw(o.channel, offset, newPublicationID(publisher, sequence))
}

// Gap records that offsets from one to another, both included, were announced as no longer
// retained.
func (o *Observer) Gap(from, to uint64) {
	o.expired.add(max(from, o.last.Load()+1), to)
	if to > o.last.Load() {
		o.last.Store(to)
	}
}

// Corrupt records a delivery that could not be read.
func (o *Observer) Corrupt(offset uint64) {
	o.checker.count(func(v *Verdict) { v.Corrupt++ }, "channel %d: offset %d holds something that no publisher sent",
		o.channel, offset)
	if offset > o.last.Load() {
		o.last.Store(offset)
	}
}

// Reached reports whether the observer has reached the newest acknowledged message of its
// channel.
func (o *Observer) Reached() bool {
	return o.last.Load() >= o.checker.channels[o.channel].acked.Load()
}

// saw compares a delivery with what others got under the same offset, and what
// was got under another one.
func (c *Checker) saw(channel int, offset uint64, id publicationID) {
	before := c.channels[channel].note(offset, id)
	if before != 0 {
		if before != id {
			c.count(func(v *Verdict) { v.OutOfOrder++ }, "channel %d: offset %d is %v for one subscriber, %v for another",
				channel, offset, before, id)
		}
		return
	}
	var elsewhere uint64
	c.publishers[id.publisher()].update(id.sequence(), func(r *record) {
		if elsewhere = r.seen; elsewhere == 0 {
			r.seen = offset
		}
	})
	if elsewhere != 0 {
		c.count(func(v *Verdict) { v.Duplicated++ }, "channel %d: %v is stored as offset %d and as %d", channel, id,
			elsewhere, offset)
	}
}

// Acknowledged tells of a receipt. Attempts is how often the message was sent.
func (c *Checker) Acknowledged(channel, publisher int, sequence, offset uint64, attempts int) {
	log := c.channels[channel]
	for {
		highest := log.acked.Load()
		if offset <= highest || log.acked.CompareAndSwap(highest, offset) {
			break
		}
	}
	c.publishers[publisher].update(sequence, func(r *record) {
		r.channel, r.acked, r.once = int32(channel), offset, attempts == 1
	})
}

// note remembers what an offset holds and returns what it was known to hold.
func (l *channelLog) note(offset uint64, id publicationID) publicationID {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := l.pages[offset/pageSize]
	if page == nil {
		page = new([pageSize]publicationID)
		l.pages[offset/pageSize] = page
	}
	before := page[offset%pageSize]
	if before == 0 {
		page[offset%pageSize] = id
	}
	return before
}

// at returns what an offset is known to hold.
func (l *channelLog) at(offset uint64) publicationID {
	if page := l.pages[offset/pageSize]; page != nil {
		return page[offset%pageSize]
	}
	return 0
}

func (l *publisherLog) update(sequence uint64, change func(*record)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := int((sequence - 1) / pageSize)
	for len(l.records) <= page {
		l.records = append(l.records, new([pageSize]record))
	}
	change(&l.records[page][(sequence-1)%pageSize])
}

func (c *Checker) count(change func(*Verdict), format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.verdict)
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// Judge returns the verdict and the first problems in words. All observers and publishers
// must be done; it may be called once.
func (c *Checker) Judge() (Verdict, []string) {
	for _, log := range c.channels {
		for _, o := range log.observers {
			c.verdict.Delivered += o.received()
		}
	}
	for i, log := range c.publishers {
		newest := make([]uint64, len(c.channels)) // offset of the newest message sent once, by channel
		for page, records := range log.records {
			for at := range records {
				r := &records[at]
				if r.acked == 0 {
					continue
				}
				id := newPublicationID(i, uint64(page*pageSize+at)+1)
				c.judge(id, r)
				if !r.once {
					continue
				}
				if r.acked <= newest[r.channel] {
					c.count(func(v *Verdict) { v.OutOfOrder++ }, "channel %d: %v has offset %d, not above that of the one before, %d",
						r.channel, id, r.acked, newest[r.channel])
				}
				newest[r.channel] = max(newest[r.channel], r.acked)
			}
		}
	}
	return c.verdict, c.problems
}

// judge looks for one acknowledged message at every subscriber of its channel.
func (c *Checker) judge(id publicationID, r *record) {
	log := c.channels[r.channel]
	if held := log.at(r.acked); held != 0 && held != id {
		c.count(func(v *Verdict) { v.OutOfOrder++ }, "channel %d: %v was acknowledged as offset %d, which holds %v",
			r.channel, id, r.acked, held)
	}
	for number, o := range log.observers {
		switch {
		case o.expired.has(r.acked):
			c.verdict.Expired++
		case r.acked > o.last.Load() || o.missing.has(r.acked):
			c.count(func(v *Verdict) { v.Lost++ }, "channel %d: %v, acknowledged as offset %d, did not reach subscriber %d",
				r.channel, id, r.acked, number)
		}
	}
}

// received returns how many different offsets the observer got.
func (o *Observer) received() uint64 {
	n := o.last.Load()
	for _, absent := range []spans{o.missing, o.expired} {
		for _, s := range absent {
			n -= s.to - s.from + 1
		}
	}
	return n
}

package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/protocol"
)

// Bounds of a pageCache.
const (
	pageCacheTime  = time.Second
	pageCacheBytes = 4 << 20
)

// pageCache holds the pages that a loop has read lately, the oldest first. Clients that
// lost their connection together miss the same messages, and clients that are slow
// together come to share pages.
type pageCache struct {
	pages []*page
	bytes int
}

func (pc *pageCache) put(p *page, now time.Duration) {
	p.expires = now + pageCacheTime
	pc.pages = append(pc.pages, p)
	pc.bytes += len(p.frames.bytes)
	p.channel.pages = append(p.channel.pages, p)
	for pc.bytes > pageCacheBytes {
		pc.drop()
	}
}

// drop lets go of the oldest page, which is also the oldest of its channel.
func (pc *pageCache) drop() {
	p := pc.pages[0]
	pc.pages[0] = nil
	pc.pages = pc.pages[1:]
	pc.bytes -= len(p.frames.bytes)
	p.channel.pages[0] = nil
	p.channel.pages = p.channel.pages[1:]
	if len(p.channel.pages) == 0 {
		p.channel.pages = nil
	}
}

// expire lets go of the pages whose time has come.
func (pc *pageCache) expire(now time.Duration) {
	for len(pc.pages) > 0 && pc.pages[0].expires <= now {
		pc.drop()
	}
	if len(pc.pages) == 0 {
		pc.pages = nil
	}
}

func (pc *pageCache) clear() {
	for len(pc.pages) > 0 {
		pc.drop()
	}
}

// cached returns a cached page that can serve w.
func (ch *localChannel) cached(w want) *page {
	for _, p := range slices.Backward(ch.pages) {
		if p.holds(w) {
			return p
		}
	}
	return nil
}

const (
	pageMessages = 512
	pageBytes    = 64 << 10
)

// page holds messages of a channel, read from the log and encoded once for all
// subscribers of a loop that want them. It does not change once it is read.
type page struct {
	channel  *localChannel
	from     uint64 // what was asked for
	last     uint64
	replayed bool
	as       protocol.Encoding
	epoch    string
	head     uint64 // how far the channel reached when it was asked for
	resets   int    // of the loop, when it was asked for
	waiting  []want

	bounds fsm.Page // without its messages
	first  uint64   // offset of the first frame; the others follow without a hole
	frames frameRun
	err    error

	expires time.Duration // from the cache, since the loop began
}

// read reads and encodes the page. It is called on a worker.
func (p *page) read() {
	s := p.channel.loop.server
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	count := int(min(pageMessages, p.last-p.from+1))
	p.bounds, p.err = s.cfg.Broker.Read(ctx, p.channel.key, p.from-1, count, pageBytes)
	messages := p.bounds.Messages
	p.bounds.Messages = nil
	switch {
	case p.err != nil:
		p.err = fmt.Errorf("read channel: %w", p.err)
	case len(messages) > 0:
		p.first = messages[0].Offset
		p.frames = encodeMessages(p.channel.key.Name, p.epoch, messages, p.replayed, p.as)
	case p.bounds.Earliest <= p.from && p.bounds.Head >= p.from:
		p.err = fmt.Errorf("read channel: nothing from offset %d on although %d is the head", p.from, p.bounds.Head)
	case p.bounds.Head < p.head:
		p.err = fmt.Errorf("read channel: head went back from %d to %d", p.head, p.bounds.Head)
	}
}

// holds reports whether the page has the first message that w wants.
func (p *page) holds(w want) bool {
	return p.replayed == w.replayed && p.as == w.as && p.first <= w.from && w.from < p.first+uint64(len(p.frames.ends))
}

// delivery returns the part of the page that w wants. some is false when it has none.
func (p *page) delivery(w want) (d delivery, some bool) {
	first := max(p.first, w.from)
	after := min(p.first+uint64(len(p.frames.ends)), w.last+1)
	if first >= after {
		return delivery{}, false
	}
	ends := p.frames.ends[:after-p.first]
	return delivery{
		sub:      w.sub,
		frames:   frameRun{p.frames.bytes[:ends[len(ends)-1]], ends},
		skip:     int(first - p.first),
		first:    first,
		after:    after,
		backfill: w.backfill,
	}, true
}

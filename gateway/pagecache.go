package gateway

import "time"

// Pages are kept for others for a moment, and no more of them than so many bytes.
const (
	pageCacheTime  = time.Second
	pageCacheBytes = 4 << 20
)

// pageCache is the pages that a loop has read lately, the oldest first. Clients that
// lost their connection together miss the same messages, and those that are slow
// together come to share pages.
type pageCache struct {
	pages []*page
	bytes int
}

func (s *pageCache) put(p *page, now time.Duration) {
	p.expires = now + pageCacheTime
	s.pages = append(s.pages, p)
	s.bytes += len(p.frames.bytes)
	p.channel.pages = append(p.channel.pages, p)
	for s.bytes > pageCacheBytes {
		s.drop()
	}
}

// drop lets go of the oldest page, which is the oldest of its topic too.
func (s *pageCache) drop() {
	p := s.pages[0]
	s.pages[0] = nil
	s.pages = s.pages[1:]
	s.bytes -= len(p.frames.bytes)
	p.channel.pages[0] = nil
	p.channel.pages = p.channel.pages[1:]
	if len(p.channel.pages) == 0 {
		p.channel.pages = nil
	}
}

// expire lets go of the pages whose time has come.
func (s *pageCache) expire(now time.Duration) {
	for len(s.pages) > 0 && s.pages[0].expires <= now {
		s.drop()
	}
	if len(s.pages) == 0 {
		s.pages = nil
	}
}

func (s *pageCache) clear() {
	for len(s.pages) > 0 {
		s.drop()
	}
}

// cached returns a page on the shelf that w can be served from.
func (t *localChannel) cached(w want) *page {
	for i := len(t.pages) - 1; i >= 0; i-- {
		if t.pages[i].holds(w) {
			return t.pages[i]
		}
	}
	return nil
}

package gateway

import "time"

// Pages are kept for others for a moment, and no more of them than so many bytes.
const (
	shelfTime  = time.Second
	shelfBytes = 4 << 20
)

// shelf is the pages that a loop has read lately, the oldest first. Clients that
// lost their connection together miss the same messages, and those that are slow
// together come to share pages.
type shelf struct {
	pages []*page
	bytes int
}

func (s *shelf) put(p *page, now time.Duration) {
	p.expires = now + shelfTime
	s.pages = append(s.pages, p)
	s.bytes += len(p.frames.bytes)
	p.topic.pages = append(p.topic.pages, p)
	for s.bytes > shelfBytes {
		s.drop()
	}
}

// drop lets go of the oldest page, which is the oldest of its topic too.
func (s *shelf) drop() {
	p := s.pages[0]
	s.pages[0] = nil
	s.pages = s.pages[1:]
	s.bytes -= len(p.frames.bytes)
	p.topic.pages[0] = nil
	p.topic.pages = p.topic.pages[1:]
	if len(p.topic.pages) == 0 {
		p.topic.pages = nil
	}
}

// expire lets go of the pages whose time has come.
func (s *shelf) expire(now time.Duration) {
	for len(s.pages) > 0 && s.pages[0].expires <= now {
		s.drop()
	}
	if len(s.pages) == 0 {
		s.pages = nil
	}
}

func (s *shelf) clear() {
	for len(s.pages) > 0 {
		s.drop()
	}
}

// shelved returns a page on the shelf that w can be served from.
func (t *topic) shelved(w want) *page {
	for i := len(t.pages) - 1; i >= 0; i-- {
		if t.pages[i].holds(w) {
			return t.pages[i]
		}
	}
	return nil
}

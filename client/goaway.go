package client

import (
	"context"
	"time"
)

// When a node drains, the client connects to the next one first. The new connection is
// subscribed where the old one is, and takes over once it has been granted everything
// and the publishes under way are answered. Whoever uses the client sees no loss of
// the connection.

const (
	// settlePatience bounds the waits for grants and answers before the client moves.
	settlePatience = 2 * time.Second
	settlePause    = 5 * time.Millisecond
	// maxAhead bounds what a successor keeps of frames that came before it took over.
	maxAhead = 4 << 20
)

// link is one authenticated connection.
type link struct {
	conn    *conn
	session Session
	token   string // that it was opened with
	reader  *reading
	strict  bool          // the server offers strict subscriptions
	written chan struct{} // closed when the writer has ended
	release func() bool   // of the client's context

	departing bool // it was told to go; for the reading goroutine only
}

// end closes the connection and waits for its writer.
func (l *link) end() {
	l.release()
	l.conn.close()
	<-l.written
}

// successor is the link that takes the place of one whose node drains. Guarded by
// Client.mu.
type successor struct {
	*link
	leaving map[string]int // as that of the client
}

// goAway takes a "goaway" frame: it prepares the successor of a link in the background.
func (c *Client) goAway(ctx context.Context, old *link, f *frame) {
	if !old.departing {
		old.departing = true
		c.background.Go(func() { c.prepare(ctx, old, f) })
	}
}

// prepare makes the successor of a link and moves the client to it.
func (c *Client) prepare(ctx context.Context, old *link, f *frame) {
	if !pause(ctx, time.Duration(f.StartInMs)*time.Millisecond) {
		return
	}
	for retry := 0; ; retry++ {
		next, err := c.open(ctx, c.endpointAfter(f.Endpoints, retry), Reconnecting, old.session.ConnectionID)
		switch {
		case err != nil:
			c.log.Warn("the next connection failed", "err", err)
		case c.moveTo(ctx, old, next):
			return
		}
		if !pause(ctx, c.timing.backoff.delay(retry)) {
			return
		}
	}
}

// endpointAfter chooses an endpoint for the nth try: one that the server named, else
// one of the client's own.
func (c *Client) endpointAfter(named []string, n int) string {
	var urls []string
	for _, name := range named {
		if url, err := socketURL(name); err == nil {
			urls = append(urls, url)
		}
	}
	if len(urls) > 0 {
		return urls[n%len(urls)]
	}
	return c.nextEndpoint()
}

// moveTo subscribes on the next link, waits until it is granted and the publishes under
// way are answered, and has the old one leave. It reports whether that is over: it is not
// when the next link failed.
func (c *Client) moveTo(ctx context.Context, old, next *link) (over bool) {
	c.mu.Lock()
	if c.link != old {
		c.mu.Unlock()
		next.end() // the old one is gone, and another was made
		return true
	}
	c.next = &successor{link: next, leaving: make(map[string]int)}
	wanted := make(map[string]bool)
	for channel, s := range c.subscriptions {
		if s.live {
			s.subscribeLocked(next)
			wanted[channel] = true
		}
	}
	for _, p := range c.presences {
		p.ahead = next
		p.takeUpLocked(next)
	}
	c.mu.Unlock()
	if err := next.reader.readAhead(wanted); err != nil {
		c.mu.Lock()
		c.next = nil
		for _, p := range c.presences {
			if c.link == old {
				p.takeUpLocked(old) // nobody will answer what the next one was told
			}
		}
		c.mu.Unlock()
		next.end()
		c.log.Warn("the next connection failed", "err", err)
		return false
	}
	c.mu.Lock()
	c.holding = true // what is published now waits for the next link
	c.mu.Unlock()
	for end := time.Now().Add(settlePatience); c.unanswered() && time.Now().Before(end); {
		if !pause(ctx, settlePause) {
			break
		}
	}
	old.conn.goodbye()
	return true
}

// move gives the successor of a link that has ended its place. It returns nil when
// there is none.
func (c *Client) move() *link {
	c.mu.Lock()
	next := c.next
	c.mu.Unlock()
	if next == nil {
		return nil
	}
	if c.options.OnConnect != nil {
		c.options.OnConnect(next.session)
	}
	c.mu.Lock()
	c.next, c.holding = nil, false
	c.link, c.conn, c.session, c.leaving = next.link, next.conn, next.session, next.leaving
	c.unheard = make(map[string]bool)
	c.forgetSentLocked()
	for _, s := range c.subscriptions {
		s.had = s.last
		if s.ahead == next.link {
			s.live = false // until what was read ahead says so
		} else {
			s.askLocked()
		}
	}
	for _, p := range c.presences {
		if p.ahead != next.link {
			p.takeUpLocked(next.link)
		}
	}
	hopeless := c.resendLocked()
	c.mu.Unlock()
	for p, err := range hopeless {
		c.settle(p, nil, err)
	}
	return next.link
}

// unanswered reports whether a publish waits for an answer of the present link.
func (c *Client) unanswered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.publishes {
		if p.sent {
			return true
		}
	}
	return false
}

// readAhead reads until all channels are confirmed or refused. What it reads is what
// next returns first.
func (r *reading) readAhead(wanted map[string]bool) error {
	defer time.AfterFunc(settlePatience, r.conn.close).Stop()
	size := 0
	for len(wanted) > 0 && size < maxAhead {
		f, err := r.receive()
		if err != nil {
			return err
		}
		r.ahead = append(r.ahead, f)
		size += len(f.Data) + len(f.Channel)
		if f.Type == "subscribed" || f.Type == "error" {
			delete(wanted, f.Channel)
		}
	}
	return nil
}

// pause waits, and reports whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

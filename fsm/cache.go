package fsm

import "slices"

// Approximate memory of a channel with its place in the maps, of a cached segment and of a
// message without its payload.
const (
	channelCost = 400
	segmentCost = 96
	messageCost = 48
	dirtyCost   = 200 // more for a channel that waits to be flushed
)

// cache decides which channels stay in memory once they are flushed. It keeps those used
// lately, by the CLOCK algorithm. Channels that wait to be flushed are in it but passed
// over.
type cache struct {
	limit int64
	bytes int64
	hand  *channel // ring of resident channels, nil if there are none
	count int
}

func (c *cache) add(ch *channel) {
	ch.cost = channelCost + int64(len(ch.key.Name))
	c.bytes += ch.cost
	c.count++
	if c.hand == nil {
		ch.next, ch.prev = ch, ch
		c.hand = ch
		return
	}
	ch.next, ch.prev = c.hand, c.hand.prev
	ch.prev.next, ch.next.prev = ch, ch
}

func (c *cache) remove(ch *channel) {
	c.bytes -= ch.cost
	c.count--
	if c.count == 0 {
		c.hand = nil
	} else {
		if c.hand == ch {
			c.hand = ch.next
		}
		ch.prev.next, ch.next.prev = ch.next, ch.prev
	}
	ch.next, ch.prev = nil, nil
}

// keep adds a durable segment to a channel's cached ones. It removes segments that the new
// one covers or does not follow. A channel may take an eighth of the cache; its oldest
// segments go first, except those that the observer has not seen.
func (c *cache) keep(ch *channel, s segment) {
	n := len(ch.cached)
	for n > 0 && ch.cached[n-1].last() >= s.first() {
		n--
	}
	if n > 0 && ch.cached[n-1].last()+1 < s.first() {
		n = 0
	}
	for _, old := range ch.cached[n:] {
		c.grow(ch, -old.cost())
	}
	if n < len(ch.cached) {
		ch.cached = slices.Clip(ch.cached[:n]) // readers may hold the rest
	}
	ch.cached = append(ch.cached, s)
	c.grow(ch, s.cost())
	for ch.cost > c.limit/8 && len(ch.cached) > 0 && !(ch.touched && ch.cached[0].last() > ch.notified) {
		c.grow(ch, -ch.cached[0].cost())
		ch.cached = ch.cached[1:]
		ch.stale++
	}
	if ch.stale > len(ch.cached) {
		ch.cached = slices.Clone(ch.cached)
		ch.stale = 0
	}
}

func (c *cache) grow(ch *channel, by int64) {
	ch.cost += by
	c.bytes += by
}

func (s *segment) cost() int64 { return segmentCost + s.bytes + messageCost*int64(len(s.messages)) }

// idle reports whether only the cache needs the channel in memory.
func (ch *channel) idle() bool { return !ch.dirty && !ch.writing && !ch.touched }

func (c *cache) over() bool { return c.bytes > c.limit && c.count > 0 }

// evict moves the hand by steps channels, or until the cache is within its limit. It
// removes idle channels that nobody used since the hand last passed, and reports them to
// forget.
func (c *cache) evict(steps int, forget func(*channel)) {
	for ; steps > 0 && c.over(); steps-- {
		ch := c.hand
		c.hand = ch.next
		if ch.idle() && !ch.used.Swap(false) {
			c.remove(ch)
			forget(ch)
		}
	}
}

package presence

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// Bounds of the differences that are kept for watchers that are behind: of one channel, and of
// all. A watcher that is further behind is told all members anew.
const (
	maxKept      = 64
	maxKeptBytes = 256 << 10
	maxFeedBytes = 16 << 20
)

// Feed keeps what watchers of channels are told, encoded once for all of them.
type Feed struct {
	members *Members
	frame   func(text []byte) []byte

	mu       sync.RWMutex
	channels map[fsm.ChannelKey]*kept
	order    list.List // of *difference: those of all channels, the oldest first
	bytes    int       // of order
}

// kept is what watchers of one channel may need.
type kept struct {
	watchers int
	version  uint64          // of the last difference
	last     []*list.Element // the last differences, as in Feed.order
	bytes    int             // of last
	large    bool
	numbers  []byte
	round    uint64 // of numbers
	sync     [][]byte
	synced   uint64 // version of sync
}

// difference is a difference as watchers are told it.
type difference struct {
	of   *kept
	text []byte
}

// Cursor is how far one watcher of a channel is. The zero value is a new one.
type Cursor struct {
	CountOnly bool
	known     bool     // the watcher has the members as of version
	version   uint64   // of the last difference that it was given
	pieces    [][]byte // what comes first: the rest of a sync, or what was given back
	given     []byte   // was neither taken nor given back yet
	round     uint64   // of the last numbers that it was given
}

// NewFeed returns a feed of changes of members. Watchers are told what frame makes of a JSON
// text.
func NewFeed(m *Members, frame func(text []byte) []byte) *Feed {
	return &Feed{members: m, frame: frame, channels: make(map[fsm.ChannelKey]*kept)}
}

// Watch prepares for a watcher of a channel. Each Watch takes an Unwatch.
func (f *Feed) Watch(key fsm.ChannelKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.channels[key]
	if k == nil {
		version, numbers := f.members.Watch(key)
		k = &kept{version: version, large: numbers.Large, numbers: f.frame(encodeNumbers(numbers)), round: 1}
		f.channels[key] = k
	}
	k.watchers++
}

// Unwatch takes back a Watch.
func (f *Feed) Unwatch(key fsm.ChannelKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.channels[key]
	if k == nil {
		return
	}
	if k.watchers--; k.watchers == 0 {
		f.dropAll(k)
		delete(f.channels, key)
		f.members.Unwatch(key)
	}
}

// Flush takes in what has changed. It returns the channels whose watchers have something to
// be told, and how long to wait until there is more; 0 when nothing waits.
func (f *Feed) Flush(now time.Time) (moved []fsm.ChannelKey, wait time.Duration) {
	differences, numbers, wait := f.members.Flush(now)
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := make(map[fsm.ChannelKey]bool, len(differences))
	note := func(key fsm.ChannelKey) *kept {
		k := f.channels[key]
		if k != nil && !seen[key] {
			seen[key] = true
			moved = append(moved, key)
		}
		return k
	}
	for i := range differences {
		d := &differences[i]
		k := note(d.Channel)
		if k == nil || d.Version <= k.version {
			continue
		}
		k.version, k.sync = d.Version, nil
		if d.Anew {
			k.large = false
			f.dropAll(k)
			continue
		}
		f.keep(k, f.frame(encodeDifference(d)))
	}
	for _, n := range numbers {
		if k := note(n.Channel); k != nil {
			if k.large = n.Large; k.large {
				f.dropAll(k)
				k.sync = nil
			}
			k.numbers = f.frame(encodeNumbers(n))
			k.round++
		}
	}
	return moved, wait
}

// keep keeps a difference for the watchers that have not been told it.
func (f *Feed) keep(k *kept, text []byte) {
	k.last = append(k.last, f.order.PushBack(&difference{k, text}))
	k.bytes, f.bytes = k.bytes+len(text), f.bytes+len(text)
	for len(k.last) > maxKept || k.bytes > maxKeptBytes && len(k.last) > 1 {
		f.drop(k)
	}
	for f.bytes > maxFeedBytes {
		f.drop(f.order.Front().Value.(*difference).of)
	}
}

// drop drops the oldest difference of a channel.
func (f *Feed) drop(k *kept) {
	size := len(f.order.Remove(k.last[0]).(*difference).text)
	k.bytes, f.bytes = k.bytes-size, f.bytes-size
	k.last = slices.Delete(k.last, 0, 1)
}

func (f *Feed) dropAll(k *kept) {
	for len(k.last) > 0 {
		f.drop(k)
	}
}

// Next returns what a watcher is to be told next, nil when it knows everything. The caller says
// with Taken or Back what became of it before it asks again.
func (f *Feed) Next(key fsm.ChannelKey, c *Cursor) []byte {
	if c.given == nil {
		c.given = f.next(key, c)
		return c.given
	}
	return nil
}

// Taken notes that a watcher has been told what Next returned.
func (c *Cursor) Taken(text []byte) {
	if c.has(text) {
		c.given = nil
	}
}

// Back takes back what Next returned. Next returns it again.
func (c *Cursor) Back(text []byte) {
	if c.has(text) {
		c.pieces, c.given = append([][]byte{text}, c.pieces...), nil
	}
}

// has reports whether a text is what Next returned last. It may be of a watcher before this one.
func (c *Cursor) has(text []byte) bool { return c.given != nil && &c.given[0] == &text[0] }

func (f *Feed) next(key fsm.ChannelKey, c *Cursor) []byte {
	if len(c.pieces) > 0 {
		piece := c.pieces[0]
		if c.pieces = c.pieces[1:]; len(c.pieces) == 0 {
			c.pieces = nil
		}
		return piece
	}
	f.mu.RLock()
	k := f.channels[key]
	if k == nil {
		f.mu.RUnlock()
		return nil
	}
	first := k.version + 1 - uint64(len(k.last)) // version of the first that is kept
	switch {
	case c.CountOnly || k.large:
		defer f.mu.RUnlock()
		if c.known = false; c.round == k.round {
			return nil
		}
		isNew := c.round == 0
		if c.round = k.round; isNew {
			return f.frame(encodeNumbers(f.members.Count(key))) // those that are kept may be a second old
		}
		return k.numbers
	case c.known && c.version >= k.version:
		f.mu.RUnlock()
		return nil
	case c.known && c.version+1 >= first:
		defer f.mu.RUnlock()
		c.version++
		return k.last[c.version-first].Value.(*difference).text
	case k.sync != nil && k.synced >= k.version:
		c.known, c.version, c.pieces = true, k.synced, k.sync[1:]
		defer f.mu.RUnlock()
		return k.sync[0]
	}
	f.mu.RUnlock()
	if !f.makeSync(key) {
		return nil
	}
	return f.next(key, c)
}

// makeSync encodes the members of a channel. It reports false if that is of no use: the
// channel has too many, or nobody watches it any more.
func (f *Feed) makeSync(key fsm.ChannelKey) bool {
	members, version, numbers := f.members.Sync(key)
	if numbers.Large {
		return false // Flush is about to say so
	}
	pieces := encodeSync(key.Name, members)
	for i := range pieces {
		pieces[i] = f.frame(pieces[i])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.channels[key]
	if k == nil {
		return false
	}
	if k.sync == nil || version >= k.synced {
		k.sync, k.synced = pieces, version
	}
	return true
}

package presence

import (
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// Bounds of the differences that are kept of one channel for watchers that are behind.
// One that is further behind is told all members anew.
const (
	maxKept      = 64
	maxKeptBytes = 256 << 10
)

// Feed keeps what watchers of channels are told, encoded once for all of them.
type Feed struct {
	members *Members

	mu       sync.RWMutex
	channels map[fsm.ChannelKey]*kept
}

// kept is what watchers of one channel may need.
type kept struct {
	watchers int
	version  uint64   // of the last difference
	texts    [][]byte // the last differences
	bytes    int      // of texts
	large    bool
	numbers  []byte
	round    uint64 // of numbers
	sync     [][]byte
	synced   uint64 // version of sync
}

// Cursor is how far one watcher of a channel is. The zero value is a new one.
type Cursor struct {
	CountOnly bool
	known     bool     // the watcher has the members as of version
	version   uint64   // of the last difference that it was given
	pieces    [][]byte // the rest of a sync
	round     uint64   // of the last numbers that it was given
}

// NewFeed returns a feed of changes of members.
func NewFeed(m *Members) *Feed {
	return &Feed{members: m, channels: make(map[fsm.ChannelKey]*kept)}
}

// Watch prepares for a watcher of a channel. Each Watch takes an Unwatch.
func (f *Feed) Watch(key fsm.ChannelKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.channels[key]
	if k == nil {
		version, numbers := f.members.Watch(key)
		k = &kept{version: version, large: numbers.Large, numbers: encodeNumbers(numbers), round: 1}
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
		if k.version = d.Version; d.Anew {
			k.large, k.texts, k.bytes, k.sync = false, nil, 0, nil
			continue
		}
		text := encodeDifference(d)
		k.texts, k.bytes = append(k.texts, text), k.bytes+len(text)
		for len(k.texts) > maxKept || k.bytes > maxKeptBytes && len(k.texts) > 1 {
			k.bytes -= len(k.texts[0])
			k.texts = append([][]byte(nil), k.texts[1:]...)
		}
	}
	for _, n := range numbers {
		if k := note(n.Channel); k != nil {
			k.large, k.numbers = n.Large, encodeNumbers(n)
			k.round++
		}
	}
	return moved, wait
}

// Next returns what a watcher is to be told next, nil when it knows everything.
func (f *Feed) Next(key fsm.ChannelKey, c *Cursor) []byte {
	if len(c.pieces) > 0 {
		piece := c.pieces[0]
		c.pieces = c.pieces[1:]
		return piece
	}
	f.mu.RLock()
	k := f.channels[key]
	if k == nil {
		f.mu.RUnlock()
		return nil
	}
	first := k.version + 1 - uint64(len(k.texts)) // version of the first that is kept
	switch {
	case c.CountOnly || k.large:
		defer f.mu.RUnlock()
		if c.known = false; c.round == k.round {
			return nil
		}
		isNew := c.round == 0
		if c.round = k.round; isNew {
			return encodeNumbers(f.members.Count(key)) // those that are kept may be a second old
		}
		return k.numbers
	case c.known && c.version >= k.version:
		f.mu.RUnlock()
		return nil
	case c.known && c.version+1 >= first:
		defer f.mu.RUnlock()
		c.version++
		return k.texts[c.version-first]
	case k.sync != nil && k.synced >= k.version:
		c.known, c.version, c.pieces = true, k.synced, k.sync[1:]
		defer f.mu.RUnlock()
		return k.sync[0]
	}
	f.mu.RUnlock()
	if !f.makeSync(key) {
		return nil
	}
	return f.Next(key, c)
}

// makeSync encodes the members of a channel. It reports false if that is of no use: the
// channel has too many, or nobody watches it any more.
func (f *Feed) makeSync(key fsm.ChannelKey) bool {
	members, version, numbers := f.members.Sync(key)
	if numbers.Large {
		return false // Flush is about to say so
	}
	pieces := encodeSync(key.Name, members)
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

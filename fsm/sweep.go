package fsm

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// The sweep takes one part in sweepShare of the flusher's time, within bounds. If there is
// much to delete, it takes sweepMost of each flush, and the flusher then pauses sweepRest
// times as long. Rounds over all channels begin at least sweepPause apart, by the stamp.
const (
	sweepShare = 50
	sweepLeast = 2 * time.Millisecond
	sweepMost  = 100 * time.Millisecond
	sweepRest  = 2
	sweepPause = 1000 // ms
)

// sweep visits the stored channels, a few in each flush, and deletes expired messages of
// channels that nobody publishes to. Each node decides alone how far it gets.
type sweep struct {
	next   []byte    // next channel; nil at the beginning
	begun  int64     // stamp at which the round began
	last   time.Time // time of its last turn
	behind bool      // the last turn had too little time
	seen   int       // blocks of this round
	blocks int       // of the last one
}

// run continues the round. The transaction holds the state as of the flush set.
func (s *sweep) run(w *writer, c *flushSet) error {
	now := time.Now()
	budget := min(max(now.Sub(s.last)/sweepShare, sweepLeast), sweepMost)
	if s.behind {
		budget = sweepMost
	}
	s.last = now
	d := &deletion{writer: w, deadline: now.Add(budget)}
	if err := s.delete(d, c); err != nil {
		return err
	}
	s.behind = d.late && d.deleted > 0
	return nil
}

func (s *sweep) delete(d *deletion, c *flushSet) error {
	for _, project := range c.tombstones {
		done, err := d.purge(project)
		if err != nil || !done {
			return err
		}
		c.purged = append(c.purged, project)
	}
	if s.next == nil {
		if c.stamp < s.begun+sweepPause {
			return nil
		}
		s.begun, s.next, s.seen = c.stamp, firstBlock, 0
	}
	for !d.over() {
		end, done, err := d.expireBlock(s.next, c)
		if err != nil || !done {
			return err
		}
		s.seen++
		if s.next = end; end == nil {
			s.blocks = s.seen
			return nil
		}
	}
	return nil
}

// deletion deletes until a deadline. done says that a method has finished in time.
type deletion struct {
	*writer
	deadline time.Time
	late     bool // the deadline ended it
	deleted  int  // records

	cursor *bolt.Cursor // of the chunks
	at     []byte       // its position, nil at the end
}

// over reports whether the deadline has come.
func (d *deletion) over() bool {
	d.late = d.late || time.Now().After(d.deadline)
	return d.late
}

// expired lists the expired parts of a channel.
type expired struct {
	channel []byte
	chunks  uint64 // those below this offset
	tail    bool
	whole   bool // the channel was forgotten
}

// expireBlock deletes expired messages of all channels in the block of a channel. end is
// the key of the next block.
func (d *deletion) expireBlock(channel []byte, c *flushSet) (end []byte, done bool, err error) {
	blocks := d.tx.Bucket(bucketChannels).Cursor()
	key, value, _ := seekBlock(blocks, channel)
	if key == nil {
		key, value = blocks.First()
	}
	if key == nil {
		return nil, true, nil
	}
	d.cursor = d.tx.Bucket(bucketChunks).Cursor()
	d.at, _ = d.cursor.Seek(key)
	var list []expired
	var wrong error
	err = scanBlock(key, value, func(channel, body []byte) bool {
		var e expired
		if e, wrong = d.expired(channel, body, c); e.tail || e.whole || e.chunks > 0 {
			e.channel = bytes.Clone(channel)
			list = append(list, e)
		}
		return wrong == nil
	})
	if err == nil {
		err = wrong
	}
	if err != nil {
		return nil, false, err
	}
	end, _ = blocks.Next()
	end = bytes.Clone(end)
	tails := false
	for _, e := range list {
		tails = tails || e.tail || e.whole
		if done, err := d.chunks(e.channel, e.chunks); err != nil || !done {
			return nil, false, err
		}
	}
	if !tails {
		return end, true, nil
	}
	return end, true, d.dropTails(key, list)
}

// dropTails removes tails, and forgotten channels, from their block.
func (d *deletion) dropTails(key []byte, list []expired) error {
	var b block
	if err := b.read(d.tx.Bucket(bucketChannels).Cursor(), key); err != nil {
		return err
	}
	kept := b.entries[:0]
	for _, e := range b.entries {
		for len(list) > 0 && bytes.Compare(list[0].channel, e.key) < 0 {
			list = list[1:]
		}
		listed := len(list) > 0 && bytes.Equal(list[0].channel, e.key)
		switch {
		case listed && list[0].whole:
			d.deleted++
			continue
		case listed && list[0].tail:
			h, _, err := decodeChannel(e.key, e.body)
			if err != nil {
				return err
			}
			e.body = appendTail(h.append(nil), nil)
			d.deleted++
		}
		kept = append(kept, e)
	}
	return b.write(d.writer, kept)
}

// hasChunks reports whether a channel has chunks. Calls come in the order of channels.
func (d *deletion) hasChunks(channel []byte) bool {
	if d.at != nil && bytes.Compare(d.at, channel) < 0 {
		d.at, _ = d.cursor.Seek(channel)
	}
	return bytes.HasPrefix(d.at, channel)
}

// expired finds the expired parts of a channel.
func (d *deletion) expired(channel, body []byte, c *flushSet) (e expired, err error) {
	h, tail, err := decodeChannel(channel, body)
	if err != nil {
		return e, err
	}
	hasTail, hasChunks := tailCount(tail) > 0, d.hasChunks(channel)
	if h.forgotten() {
		return expired{whole: true, chunks: noOffset}, nil
	}
	if !hasTail && !hasChunks {
		return e, nil
	}
	project, name, _, err := splitChannelKey(channel)
	if err != nil {
		return e, err
	}
	p, ok := c.projects[string(project)]
	if !ok {
		return e, nil // purge deletes the whole project
	}
	v := retentionView{key: ChannelKey{p.ID, asString(name)}, project: p, stamp: c.stamp, cappedUntil: c.capFloor, head: h}
	rule := p.Rule(v.key.Name)
	if v.lowest(rule, v.floor) > v.offset || !v.retained(rule, v.stamp)(v.newest()) {
		return expired{tail: hasTail, chunks: noOffset}, nil
	}
	if !hasChunks {
		return e, nil
	}
	v.readFrom(d.tx)
	at, err := v.earliest()
	if err != nil {
		return e, err
	}
	e = expired{tail: hasTail && at.offset > v.offset, chunks: at.offset}
	if at.offset+tailCount(tail) > v.offset {
		e.chunks = noOffset
	}
	return e, nil
}

// purge deletes the rest of a deleted project.
func (d *deletion) purge(project string) (done bool, err error) {
	prefix := appendProjectPrefix(nil, project)
	if done, err = d.chunks(prefix, noOffset); err != nil || !done {
		return false, err
	}
	if done, err = d.channels(prefix); err != nil || !done {
		return false, err
	}
	return true, d.put(bucketTombstones, []byte(project), wire.AppendBool(nil, true))
}

// channels removes the channels whose keys begin with prefix from their blocks.
func (d *deletion) channels(prefix []byte) (done bool, err error) {
	var b block
	for from := prefix; ; {
		if d.over() {
			return false, nil
		}
		if err := b.read(d.tx.Bucket(bucketChannels).Cursor(), from); err != nil {
			return false, err
		}
		n := len(b.entries)
		left := slices.DeleteFunc(b.entries, func(e entry) bool { return bytes.HasPrefix(e.key, prefix) })
		if deleted := n - len(left); deleted > 0 {
			if err := b.write(d.writer, left); err != nil {
				return false, err
			}
			d.deleted += deleted
		}
		if !bytes.HasPrefix(b.end, prefix) {
			return true, nil
		}
		from = bytes.Clone(b.end)
	}
}

// chunks deletes the chunks of a channel that lie entirely below an offset. With noOffset
// it deletes all, and prefix may be a project's.
func (d *deletion) chunks(prefix []byte, below uint64) (done bool, err error) {
	c := d.tx.Bucket(bucketChunks).Cursor()
	for {
		key, _ := c.Seek(prefix)
		if !bytes.HasPrefix(key, prefix) {
			return true, nil
		}
		if below != noOffset {
			next, _ := c.Next()
			if !bytes.HasPrefix(next, prefix) || binary.BigEndian.Uint64(next[len(prefix):]) > below {
				return true, nil
			}
			c.Seek(key)
		}
		if d.over() {
			return false, nil
		}
		if err := d.removeAt(c, bucketChunks, key); err != nil {
			return false, err
		}
		d.deleted++
	}
}

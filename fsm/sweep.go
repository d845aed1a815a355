package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// A flush spends at most sweepTime on deleting what is no longer retained of
// channels that nobody publishes to, and up to sweepMost when there is much of
// that. A new round over all channels begins only sweepPause (by the stamp) after
// the last one began.
const (
	sweepTime  = 2 * time.Millisecond
	sweepMost  = 40 * time.Millisecond
	sweepPause = 1000 // ms
)

// sweep goes round the stored chunks, a little in each flush. How far it gets is
// this node's own affair: what it deletes was not retained any more.
type sweep struct {
	next   []byte        // where in the chunks to go on; nil at the beginning
	begun  int64         // stamp at which the round began
	time   time.Duration // to spend in the next flush; 0 means sweepTime
	behind bool          // the last flush had more to delete than time for it
}

// run goes on with the round. The transaction holds the state as of the changes.
func (s *sweep) run(w *writer, c *changes) error {
	if s.time == 0 {
		s.time = sweepTime
	}
	d := &deletion{writer: w, deadline: time.Now().Add(s.time)}
	if err := s.delete(d, c); err != nil {
		return err
	}
	s.behind = d.late && d.deleted > 0
	if s.behind {
		s.time = min(2*s.time, sweepMost)
	} else {
		s.time = sweepTime
	}
	return nil
}

func (s *sweep) delete(d *deletion, c *changes) error {
	for _, project := range c.gone {
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
		s.begun = c.stamp
	}
	for !d.over() {
		key, _ := d.tx.Bucket(bucketChunks).Cursor().Seek(s.next)
		if key == nil {
			s.next = nil
			return nil
		}
		project, name, rest, err := splitChannelKey(key)
		if err != nil {
			return err
		}
		channel := slices.Clone(key[:len(key)-len(rest)])
		if p, ok := c.projects[string(project)]; ok {
			done, err := d.expire(p, string(name), channel, c)
			if err != nil || !done {
				return err
			}
		}
		// No key of the channel is as high as that.
		s.next = append(channel, bytes.Repeat([]byte{0xff}, 9)...)
	}
	return nil
}

// deletion deletes until a deadline. Its methods report whether they got to their
// end before.
type deletion struct {
	*writer
	deadline time.Time
	late     bool // the deadline ended it
	deleted  int  // records
}

// over reports whether the deadline has come.
func (d *deletion) over() bool {
	d.late = d.late || time.Now().After(d.deadline)
	return d.late
}

// expire deletes the chunks of a channel of which nothing is retained.
func (d *deletion) expire(p *project, name string, key []byte, c *changes) (done bool, err error) {
	v := view{key: ChannelKey{p.ID, name}, project: p, stamp: c.stamp, gone: c.floor}
	var stored bool
	if v.head, stored, err = readHead(d.tx.Bucket(bucketChannels).Cursor(), key); err != nil {
		return false, err
	}
	if !stored {
		return false, fmt.Errorf("channel %q of project %q has chunks but no head: %w", name, p.ID, errCorrupt)
	}
	v.readFrom(d.tx)
	at, err := v.earliest()
	if err != nil {
		return false, err
	}
	if at.offset > v.offset {
		return d.prefix(bucketChunks, key)
	}
	return d.chunks(key, at.offset)
}

// purge deletes what is left of a deleted project.
func (d *deletion) purge(project string) (done bool, err error) {
	prefix := appendProjectPrefix(nil, project)
	for _, bucket := range [][]byte{bucketChunks, bucketChannels} {
		if done, err = d.prefix(bucket, prefix); err != nil || !done {
			return false, err
		}
	}
	return true, d.put(bucketGone, []byte(project), appendBool(nil, true))
}

// prefix deletes the records whose keys begin with prefix.
func (d *deletion) prefix(bucket, prefix []byte) (done bool, err error) {
	b := d.tx.Bucket(bucket)
	for {
		key, _ := b.Cursor().Seek(prefix)
		if !bytes.HasPrefix(key, prefix) {
			return true, nil
		}
		if d.over() {
			return false, nil
		}
		if err := d.remove(bucket, slices.Clone(key)); err != nil {
			return false, err
		}
		d.deleted++
	}
}

// chunks deletes the chunks of a channel that lie entirely below an offset that
// some chunk holds.
func (d *deletion) chunks(channel []byte, below uint64) (done bool, err error) {
	c := d.tx.Bucket(bucketChunks).Cursor()
	for {
		key, _ := c.Seek(channel)
		if !bytes.HasPrefix(key, channel) {
			return true, nil
		}
		key = slices.Clone(key)
		next, _ := c.Next()
		if !bytes.HasPrefix(next, channel) || binary.BigEndian.Uint64(next[len(channel):]) > below {
			return true, nil
		}
		if d.over() {
			return false, nil
		}
		if err := d.remove(bucketChunks, key); err != nil {
			return false, err
		}
		d.deleted++
	}
}

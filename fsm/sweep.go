package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A flush spends at most sweepTime on deleting what is no longer retained of
// channels that nobody publishes to, and begins a new round over all channels
// only sweepPause (by the stamp) after the last one.
const (
	sweepTime  = 2 * time.Millisecond
	sweepPause = 1000 // ms
)

// sweep goes round the stored chunks, a little in each flush. How far it gets is
// this node's own affair: what it deletes was not retained any more.
type sweep struct {
	next  []byte // where in the chunks to go on; nil at the beginning
	begun int64  // stamp at which the round began
}

// run goes on with the round. The transaction holds the state as of the changes.
func (w *sweep) run(tx *bolt.Tx, c *changes) error {
	deadline := time.Now().Add(sweepTime)
	for _, project := range c.gone {
		done, err := purge(tx, project, deadline)
		if err != nil || !done {
			return err
		}
		c.purged = append(c.purged, project)
	}
	if w.next == nil {
		if c.stamp < w.begun+sweepPause {
			return nil
		}
		w.begun = c.stamp
	}
	for time.Now().Before(deadline) {
		key, _ := tx.Bucket(bucketChunks).Cursor().Seek(w.next)
		if key == nil {
			w.next = nil
			return nil
		}
		project, name, rest, err := splitChannelKey(key)
		if err != nil {
			return err
		}
		channel := slices.Clone(key[:len(key)-len(rest)])
		if p, ok := c.projects[string(project)]; ok {
			done, err := sweepChannel(tx, p, string(name), channel, c.stamp, deadline)
			if err != nil || !done {
				return err
			}
		}
		// No key of the channel is as high as that.
		w.next = append(channel, bytes.Repeat([]byte{0xff}, 9)...)
	}
	return nil
}

// sweepChannel deletes the chunks of a channel of which nothing is retained.
func sweepChannel(tx *bolt.Tx, p *project, name string, key []byte, stamp int64, deadline time.Time) (done bool, err error) {
	v := view{key: ChannelKey{p.ID, name}, project: p, stamp: stamp}
	var stored bool
	if v.head, stored, err = readHead(tx, v.key); err != nil {
		return false, err
	}
	if !stored {
		return false, fmt.Errorf("channel %q of project %q has chunks but no head: %w", name, p.ID, errCorrupt)
	}
	v.readFrom(tx)
	at, err := v.earliest()
	if err != nil {
		return false, err
	}
	if at.offset > v.offset {
		return deletePrefix(tx, bucketChunks, key, deadline)
	}
	return deleteChunks(v.chunks, key, at.offset, deadline)
}

// purge deletes what is left of a deleted project.
func purge(tx *bolt.Tx, project string, deadline time.Time) (done bool, err error) {
	prefix := appendProjectPrefix(nil, project)
	for _, bucket := range [][]byte{bucketChunks, bucketChannels} {
		if done, err = deletePrefix(tx, bucket, prefix, deadline); err != nil || !done {
			return false, err
		}
	}
	return true, put(tx.Bucket(bucketGone), bucketGone, []byte(project), appendBool(nil, true))
}

// deletePrefix deletes the records whose keys begin with prefix, until the
// deadline.
func deletePrefix(tx *bolt.Tx, bucket, prefix []byte, deadline time.Time) (done bool, err error) {
	b := tx.Bucket(bucket)
	for {
		key, _ := b.Cursor().Seek(prefix)
		if !bytes.HasPrefix(key, prefix) {
			return true, nil
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := remove(b, bucket, slices.Clone(key)); err != nil {
			return false, err
		}
	}
}

// deleteChunks deletes the chunks of a channel that lie entirely below an offset
// that some chunk holds, until the deadline.
func deleteChunks(chunks *bolt.Bucket, channel []byte, below uint64, deadline time.Time) (done bool, err error) {
	c := chunks.Cursor()
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
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := remove(chunks, bucketChunks, key); err != nil {
			return false, err
		}
	}
}

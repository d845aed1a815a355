package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/aptlyd/aptlyd/internal/durable"
)

// compactStep bounds one step of a compaction, in bytes.
const compactStep = 4 << 20

// compactRest is the pause after a step as a multiple of the step's time. Flushes, and the
// log on the same disk, get the rest.
const compactRest = 3

// compaction copies the state file without its free pages into a new file and replaces it,
// since bbolt never shrinks a file. Each step runs between two flushes, with
// State.flusher.running held, so that nothing changes meanwhile:
//
//	copy      the next records, in the order of buckets and keys
//	catch up  with flushes that changed records copied before
//	install   the new file, once nothing is left to copy or to catch up with
//
// The records of a step are durable and verified when it ends. No transaction outlives a
// step, so the old file continues to reuse its pages.
type compaction struct {
	path string
	db   *bolt.DB // the new file
	// limit bounds the bytes that a step copies, and the changes that may gather before
	// they are copied again.
	limit int // about how much a step copies, and how much may change before it is copied again, bytes

	// bucket and next are the position: all records of earlier buckets are copied, and
	// those of this one with a key below next.
	bucket int
	next   []byte

	changed []map[string]struct{} // keys of copied records changed since, by bucket
	size    int                   // about what catching up with them will write, bytes
}

// beginCompaction makes the new file.
func beginCompaction(dir string) (*compaction, error) {
	c := &compaction{
		path:    filepath.Join(dir, compactingState),
		limit:   compactStep,
		changed: make([]map[string]struct{}, len(buckets)),
	}
	if err := removeIfExists(c.path); err != nil {
		return nil, err
	}
	var err error
	if c.db, err = openStore(c.path); err != nil {
		return nil, err
	}
	if err = c.db.Update(createBuckets); err != nil {
		return nil, errors.Join(err, c.discard())
	}
	return c, nil
}

// discard removes the new file.
func (c *compaction) discard() error {
	return errors.Join(c.db.Close(), removeIfExists(c.path))
}

// note records that a flush changed a record, which now has size bytes.
func (c *compaction) note(bucket, key []byte, size int) {
	if c == nil {
		return
	}
	i := slices.IndexFunc(buckets, func(b []byte) bool { return bytes.Equal(b, bucket) })
	if i > c.bucket || i == c.bucket && bytes.Compare(key, c.next) >= 0 {
		return // a later step copies it
	}
	if c.changed[i] == nil {
		c.changed[i] = make(map[string]struct{})
	}
	c.changed[i][string(key)] = struct{}{}
	c.size += len(key) + size
}

// step does the next part of the work. When it returns done, the new file equals the old
// one until the next flush.
func (c *compaction) step(old *bolt.DB) (done bool, err error) {
	complete := c.bucket == len(buckets)
	err = old.View(func(from *bolt.Tx) error {
		if complete || c.size > c.limit {
			if err := c.catchUp(from); err != nil {
				return err
			}
		}
		if complete {
			return nil
		}
		// Each step copies, however much changes.
		return c.copy(from)
	})
	if err != nil {
		return false, fmt.Errorf("compact state: %w", err)
	}
	return complete, nil
}

// copy copies the next records of the current bucket.
func (c *compaction) copy(from *bolt.Tx) error {
	name := buckets[c.bucket]
	source := from.Bucket(name).Cursor()
	var end []byte // the first key left for the next step
	err := c.db.Update(func(to *bolt.Tx) error {
		b := to.Bucket(name)
		b.FillPercent = 1 // keys only grow
		size := 0
		key, value := source.Seek(c.next)
		for ; key != nil && size < c.limit; key, value = source.Next() {
			if err := transfer(b, name, key, value); err != nil {
				return err
			}
			size += len(key) + len(value)
		}
		end = slices.Clone(key)
		return nil
	})
	if err != nil {
		return err
	}
	err = c.db.View(func(to *bolt.Tx) error {
		copied := to.Bucket(name).Cursor()
		key, value := source.Seek(c.next)
		k, v := copied.Seek(c.next)
		for !bytes.Equal(key, end) {
			if !bytes.Equal(k, key) || !bytes.Equal(v, value) {
				return fmt.Errorf("read copy of %s %q: %w", name, key, errCorrupt)
			}
			key, value = source.Next()
			k, v = copied.Next()
		}
		if k != nil {
			return fmt.Errorf("read copy of %s: %q is too much: %w", name, k, errCorrupt)
		}
		return nil
	})
	if c.next = end; end == nil {
		c.bucket++
	}
	return err
}

// transfer verifies a record and writes it unchanged.
func transfer(b *bolt.Bucket, bucket, key, value []byte) error {
	if _, err := unseal(bucket, key, value); err != nil {
		return err
	}
	if err := b.Put(key, value); err != nil {
		return fmt.Errorf("write %s %q: %w", bucket, key, err)
	}
	return nil
}

// catchUp copies changed records again.
func (c *compaction) catchUp(from *bolt.Tx) error {
	err := c.db.Update(func(to *bolt.Tx) error {
		return c.eachChanged(from, to, func(b *bolt.Bucket, name, key, value []byte) error {
			if value == nil {
				return b.Delete(key)
			}
			return transfer(b, name, key, value)
		})
	})
	if err != nil {
		return err
	}
	err = c.db.View(func(to *bolt.Tx) error {
		return c.eachChanged(from, to, func(b *bolt.Bucket, name, key, value []byte) error {
			if !bytes.Equal(b.Get(key), value) {
				return fmt.Errorf("read copy of %s %q: %w", name, key, errCorrupt)
			}
			return nil
		})
	})
	clear(c.changed)
	c.size = 0
	return err
}

// eachChanged calls fn with each changed key, in order, and its value in from, nil if it
// was deleted.
func (c *compaction) eachChanged(from, to *bolt.Tx, fn func(b *bolt.Bucket, name, key, value []byte) error) error {
	for i, keys := range c.changed {
		source, b := from.Bucket(buckets[i]), to.Bucket(buckets[i])
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			key := []byte(k)
			if err := fn(b, buckets[i], key, source.Get(key)); err != nil {
				return err
			}
		}
	}
	return nil
}

// compact does the next step of a compaction, and begins one if it is due. It returns how
// long the next step should wait, 0 if there is none.
func (s *State) compact() (wait time.Duration) {
	f := &s.flusher
	f.running.Lock()
	defer f.running.Unlock()
	begun := time.Now()
	if begun.Before(f.compactAfter) {
		return f.compactAfter.Sub(begun)
	}
	var more bool
	err := guarded(func() (err error) {
		more, err = s.compactMore()
		return err
	})
	if err != nil {
		s.fail(err)
		return 0
	}
	if !more {
		return 0
	}
	wait = compactRest * time.Since(begun)
	f.compactAfter = time.Now().Add(wait)
	return wait
}

// compactMore is compact without the pause. f.running is held.
func (s *State) compactMore() (more bool, err error) {
	f := &s.flusher
	s.mu.RLock()
	db, stopped := s.db, s.db == nil || s.failed != nil
	s.mu.RUnlock()
	if stopped {
		return false, nil
	}
	defer s.cfg.Watch("compact the state")() // a step is a bounded amount of work
	if f.compaction == nil {
		due, err := s.compactionDue(db)
		if err != nil || !due {
			return false, err
		}
		if f.compaction, err = beginCompaction(s.cfg.Dir); err != nil {
			return false, fmt.Errorf("begin to compact state: %w", err)
		}
		return true, nil
	}
	done, err := f.compaction.step(db)
	if err != nil || !done {
		return err == nil, err
	}
	return false, s.replace(db)
}

// replace replaces the old file by the compacted one.
func (s *State) replace(old *bolt.DB) error {
	c := s.flusher.compaction
	path := filepath.Join(s.cfg.Dir, stateFile)
	space, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("compact state: %w", err)
	}
	if err := durable.Install(c.path, path); err != nil {
		return fmt.Errorf("compact state: %w", errors.Join(err, space.Close()))
	}
	s.flusher.compaction = nil
	s.mu.Lock()
	s.db = c.db
	s.mu.Unlock()
	before, err := usedSize(old)
	if err != nil {
		return errors.Join(err, space.Close())
	}
	after, err := usedSize(c.db)
	if err != nil {
		return errors.Join(err, space.Close())
	}
	s.releaseFile(old, space)
	s.cfg.Logger.Info("state compacted", "from", before, "to", after)
	return nil
}

// usedSize returns the size of a file up to its last used page, in bytes.
func usedSize(db *bolt.DB) (size int64, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		size = tx.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("look at size of state: %w", err)
	}
	return size, nil
}

// compactionDue reports whether half of a large file is free, its predecessor is closed and
// the disk has room for twice the live records. It waits while the sweep has much to
// delete.
func (s *State) compactionDue(db *bolt.DB) (bool, error) {
	stats := db.Stats()
	free := int64(stats.FreeAlloc) - s.flusher.churn(stats.TxStats.GetPageAlloc())
	if s.flusher.sweep.behind || free < s.cfg.CompactBytes/2 {
		return false, nil
	}
	select {
	case <-s.released:
	default:
		return false, nil
	}
	size, err := usedSize(db)
	if err != nil {
		return false, err
	}
	if size < s.cfg.CompactBytes || free < size/2 {
		return false, nil
	}
	room, err := durable.FreeBytes(s.cfg.Dir)
	if err != nil {
		return false, err
	}
	return int64(room) >= 2*(size-free), nil
}

// churn returns about how many bytes a flush writes lately, given the total written to the
// file. Each flush frees as many, which the next ones reuse, so they are not worth
// compacting.
func (f *flusher) churn(written int64) int64 {
	if written < f.written {
		f.written = 0 // another file
	}
	f.recent = max(written-f.written, f.recent*7/8)
	f.written = written
	return f.recent
}

// abandonCompaction removes an unfinished new file. f.running is held, or nothing runs any
// more.
func (f *flusher) abandonCompaction() error {
	c := f.compaction
	if f.compaction = nil; c == nil {
		return nil
	}
	if err := c.discard(); err != nil {
		return fmt.Errorf("abandon compaction: %w", err)
	}
	return nil
}

package fsm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// flusher is the goroutine that writes applied changes to the state file.
type flusher struct {
	wake   chan struct{} // an entry was applied
	urgent chan struct{} // a flush should not wait
	quit   chan struct{}
	done   chan struct{}

	// running is held during a flush. The state file is not replaced meanwhile.
	running sync.Mutex

	// The next fields belong to the holder of running.
	sweep        sweep
	compaction   *compaction // under way, or nil
	compactAfter time.Time   // time of its next step
	written      int64       // Bytes written to the file, ever
	recent       int64       // Bytes that a flush writes to it lately

	// A flush set ends at a whole entry. In the middle of one the flusher sets setWanted,
	// which State.mu guards, and the goroutine that applies sends the set.
	setWanted bool
	sets      chan *flushSet
}

func (f *flusher) start(s *State) {
	f.wake, f.urgent = make(chan struct{}, 1), make(chan struct{}, 1)
	f.quit, f.done = make(chan struct{}), make(chan struct{})
	f.sets = make(chan *flushSet, 1)
	go func() {
		defer close(f.done)
		f.run(s)
	}()
}

// stop ends the goroutine after a last flush.
func (f *flusher) stop() {
	select {
	case <-f.quit:
	default:
		close(f.quit)
	}
	<-f.done
}

func (f *flusher) run(s *State) {
	var timer, sweepAgain, compactAgain <-chan time.Time
	for {
		select {
		case <-f.wake:
			if timer == nil {
				timer = time.After(s.cfg.FlushEvery)
			}
			continue
		case <-timer:
		case <-f.urgent:
		case <-sweepAgain:
		case <-compactAgain:
			compactAgain = after(s.compact())
			continue
		case <-f.quit:
			s.flush()
			return
		}
		timer = nil
		begun := time.Now()
		behind := s.flush()
		sweepAgain = nil
		if behind {
			sweepAgain = time.After(sweepRest * time.Since(begun))
		}
		compactAgain = after(s.compact())
	}
}

// after is time.After, except that 0 never comes.
func after(wait time.Duration) <-chan time.Time {
	if wait == 0 {
		return nil
	}
	return time.After(wait)
}

// note says that an entry was applied.
func (f *flusher) note(urgent bool) {
	signal(f.wake)
	if urgent {
		signal(f.urgent)
	}
}

// hurry asks for a flush now.
func (f *flusher) hurry() { f.note(true) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Flush returns once every entry begun before is durable. The goroutine that applies may
// call it only after Settle.
func (s *State) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	target, swaps := s.index, s.restores
	for s.durable < target && s.restores == swaps {
		if s.failed != nil {
			return fmt.Errorf("flush state: %w", s.failed)
		}
		s.flusher.hurry()
		s.flushed.Wait()
	}
	return nil
}

// flush writes the applied changes, if any. It reports whether more is left to delete than
// it had time for.
func (s *State) flush() (behind bool) {
	f := &s.flusher
	f.running.Lock()
	defer f.running.Unlock()
	db, c := s.takeFlushSet()
	if c == nil {
		return false
	}
	if err := guarded(func() error { return s.write(db, c) }); err != nil {
		s.fail(fmt.Errorf("flush state: %w", err))
		return false
	}
	s.written(c)
	return f.sweep.behind
}

// takeFlushSet closes the flush set. It returns nil if there is nothing to write or delete.
func (s *State) takeFlushSet() (*bolt.DB, *flushSet) {
	f := &s.flusher
	s.mu.Lock()
	db := s.db
	if s.failed != nil || s.index == s.durable && !f.sweep.behind {
		s.mu.Unlock()
		return nil, nil
	}
	if !s.inEntry {
		defer s.mu.Unlock()
		return db, s.closeFlushSet()
	}
	f.setWanted = true
	s.mu.Unlock()
	select {
	case c := <-f.sets:
		return db, c
	case <-f.quit:
		// Nobody applies any more, so the entry stays half applied. The log still has it
		// and the whole entries before it.
		return nil, nil
	}
}

// write writes a flush set to the state file in one transaction.
func (s *State) write(db *bolt.DB, c *flushSet) error {
	return s.update(db, func(tx *bolt.Tx) error {
		w := &writer{tx, s.flusher.compaction}
		trim := &deletion{writer: w, deadline: time.Now().Add(trimTime)}
		for _, r := range c.records {
			if r.body == nil {
				if err := w.remove(r.bucket, r.key); err != nil {
					return err
				}
			} else if err := w.put(r.bucket, r.key, r.body); err != nil {
				return err
			}
		}
		if err := c.writeChannels(trim); err != nil {
			return err
		}
		if err := c.writeIDs(w); err != nil {
			return err
		}
		if err := s.flusher.sweep.run(w, c); err != nil {
			return err
		}
		if err := w.put(bucketMeta, metaByteCap, c.byteCap); err != nil {
			return err
		}
		return w.put(bucketMeta, metaApplied, c.position.append(nil))
	})
}

// update runs fn in a transaction. It watches the commit only, since the time of fn depends
// on the amount of work.
func (s *State) update(db *bolt.DB, fn func(tx *bolt.Tx) error) error {
	tx, err := db.Begin(true)
	if err != nil {
		return fmt.Errorf("begin to write: %w", err)
	}
	if err := fn(tx); err != nil {
		rollback(tx)
		return err
	}
	defer s.cfg.Watch("write the state")()
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// trimTime bounds the time of a flush for chunks that the count of a rule expired. Only a
// test changes it.
var trimTime = 50 * time.Millisecond

// writeIDs stores new ids and deletes records whose ids are all forgotten.
func (c *flushSet) writeIDs(w *writer) error {
	b := w.tx.Bucket(bucketIDs)
	b.FillPercent = 1 // keys only ever grow
	next := c.firstID
	for part := range slices.Chunk(c.ids, idsPerRecord) {
		key := binary.BigEndian.AppendUint64(nil, next)
		if err := w.put(bucketIDs, key, appendIDs(nil, part)); err != nil {
			return err
		}
		next += uint64(len(part))
	}
	cursor := b.Cursor()
	for {
		key, _ := cursor.First()
		if key == nil {
			return nil
		}
		key = slices.Clone(key)
		end := next
		if following, _ := cursor.Next(); following != nil {
			end = binary.BigEndian.Uint64(following)
		}
		if end > c.idsFrom {
			return nil
		}
		if err := w.remove(bucketIDs, key); err != nil {
			return err
		}
	}
}

// written marks a flush set as durable. It holds s.mu for short times only, since the
// goroutine that applies waits for it.
func (s *State) written(c *flushSet) {
	for part := range slices.Chunk(c.heads, heldChannels) {
		s.mu.Lock()
		for i := range part {
			part[i].endFlush(&s.cache)
		}
		s.mu.Unlock()
	}
	s.evict()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range c.purged {
		s.registry.tombstones[id] = true
	}
	s.flushing, s.durable = nil, c.index
	s.blocks = s.flusher.sweep.blocks
	s.flushed.Broadcast()
}

// heldChannels is the number of channels that the flusher handles while it holds s.mu.
const heldChannels = 4096

// evict brings the cache within its limit, as far as possible.
func (s *State) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The first round may only clear marks of use.
	for left := 2 * s.cache.count; left > 0 && s.cache.over(); left -= heldChannels {
		s.cache.evict(heldChannels, func(ch *channel) { delete(s.channels, ch.key) })
		s.mu.Unlock()
		s.mu.Lock()
	}
}

package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/aptlyd/aptlyd/internal/durable"
)

// A snapshot is the state file as of one transaction, followed by
//
//	"aptlyd state 1\n" (16) | size of the file (8, BE) | SHA-256 of the file (32)
//
// so that a receiver can verify that it arrived complete and unchanged.
const (
	snapshotMagic  = "aptlyd state 1\n\x00"
	snapshotFooter = len(snapshotMagic) + 8 + sha256.Size
)

var errReplaced = errors.New("the state was replaced by a snapshot")

// snapshotReader streams one transaction to its reader.
type snapshotReader struct {
	*io.PipeReader
	writer *io.PipeWriter
	state  *State
	done   chan struct{}
}

// Close ends the snapshot. It may be called more than once.
func (e *snapshotReader) Close() error {
	e.cancel(io.ErrClosedPipe)
	e.state.mu.Lock()
	delete(e.state.snapshots, e)
	e.state.mu.Unlock()
	return nil
}

// cancel makes reads fail and returns once the transaction has ended.
func (e *snapshotReader) cancel(err error) {
	_ = e.writer.CloseWithError(err) // never fails
	<-e.done
}

// cancelSnapshots ends all open snapshots. s.mu is held.
func (s *State) cancelSnapshots(err error) {
	for e := range s.snapshots {
		e.cancel(err)
		delete(s.snapshots, e)
	}
}

// Snapshot flushes and opens the state file for reading: size bytes, as of the entry index
// of that term. It verifies every record first, so that a damaged record stops this node
// and not its reader's. Applying goes on, but the file grows by overwritten pages until the
// reader is closed. Restore and Close end the snapshot with an error.
func (s *State) Snapshot() (r io.ReadCloser, size int64, index, term uint64, err error) {
	tx, swaps, err := s.beginSnapshot()
	if err != nil {
		return nil, 0, 0, 0, fmt.Errorf("snapshot: %w", err)
	}
	var at position
	err = guarded(func() error {
		if err := s.checkRecords(tx, swaps); err != nil {
			return err
		}
		return get(tx, bucketMeta, metaApplied, func(d *decoder) { at = d.position() })
	})
	if err != nil {
		rollback(tx)
		err = fmt.Errorf("snapshot: %w", err)
		if errors.Is(err, errCorrupt) {
			s.fail(err)
		}
		return nil, 0, 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.snapshotEnded(swaps); err != nil {
		rollback(tx)
		return nil, 0, 0, 0, fmt.Errorf("snapshot: %w", err)
	}
	pr, pw := io.Pipe()
	e := &snapshotReader{PipeReader: pr, writer: pw, state: s, done: make(chan struct{})}
	s.snapshots[e] = struct{}{}
	go func() {
		defer close(e.done)
		_ = pw.CloseWithError(writeSnapshot(pw, tx)) // never fails
		rollback(tx)
	}()
	return e, tx.Size() + int64(snapshotFooter), at.index, at.term, nil
}

// beginSnapshot flushes and begins a read transaction. restores identifies the file.
func (s *State) beginSnapshot() (tx *bolt.Tx, swaps int, err error) {
	if err := s.Flush(); err != nil {
		return nil, 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return nil, 0, ErrClosed
	}
	if tx, err = beginRead(s.db); err != nil {
		return nil, 0, err
	}
	return tx, s.restores, nil
}

// snapshotEnded returns why a snapshot of that file has ended, nil if it has not. s.mu is
// held.
func (s *State) snapshotEnded(swaps int) error {
	if s.restores != swaps {
		return errReplaced
	}
	return s.failed
}

// checkEvery bounds the bytes that are verified before the next check whether the snapshot
// still is wanted.
const checkEvery = 8 << 20

// checkRecords verifies the checksum of every record.
func (s *State) checkRecords(tx *bolt.Tx, swaps int) error {
	unasked := 0
	for _, name := range buckets {
		c := tx.Bucket(name).Cursor()
		for key, value := c.First(); key != nil; key, value = c.Next() {
			if _, err := unseal(name, key, value); err != nil {
				return err
			}
			if unasked += len(key) + len(value); unasked < checkEvery {
				continue
			}
			unasked = 0
			s.mu.RLock()
			err := s.snapshotEnded(swaps)
			s.mu.RUnlock()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func writeSnapshot(w io.Writer, tx *bolt.Tx) error {
	sum := sha256.New()
	size, err := tx.WriteTo(io.MultiWriter(w, sum))
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	_, err = w.Write(appendFooter(nil, size, sum))
	return err
}

func appendFooter(dst []byte, size int64, sum hash.Hash) []byte {
	dst = append(dst, snapshotMagic...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(size))
	return sum.Sum(dst)
}

// Restore replaces the whole state by a snapshot. The new state is complete, verified and
// durable before it replaces the old one; after an error or a crash the old one is still
// there. Only the goroutine that applies may call it, after Settle.
func (s *State) Restore(r io.Reader) error {
	s.flusher.running.Lock()
	defer s.flusher.running.Unlock()
	s.mu.RLock()
	closed := s.db == nil
	s.mu.RUnlock()
	if closed {
		return fmt.Errorf("restore state: %w", ErrClosed)
	}
	if err := s.flusher.abandonCompaction(); err != nil {
		return fmt.Errorf("restore state: %w", err)
	}
	path := filepath.Join(s.cfg.Dir, restoringState)
	db, im, err := receiveSnapshot(r, path)
	if err != nil {
		return fmt.Errorf("restore state: %w", errors.Join(err, removeIfExists(path)))
	}
	if err := durable.Install(path, filepath.Join(s.cfg.Dir, stateFile)); err != nil {
		// A restart may find either file.
		s.fail(err)
		return fmt.Errorf("restore state: %w", errors.Join(err, db.Close()))
	}
	s.mu.Lock()
	old := s.db
	s.cancelSnapshots(errReplaced)
	s.adopt(db, im)
	s.flusher.sweep = sweep{}
	s.restores++
	s.flushed.Broadcast()
	s.mu.Unlock()
	// Close waits for readers with a transaction of the old file.
	if err := old.Close(); err != nil {
		return fmt.Errorf("restore state: close the old one: %w", err)
	}
	s.cfg.Logger.Info("state restored", "index", im.index)
	if s.cfg.Observer != nil {
		s.cfg.Observer.Reset()
	}
	return nil
}

// receiveSnapshot writes a snapshot to path, opens it and verifies it.
func receiveSnapshot(r io.Reader, path string) (*bolt.DB, *image, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("make file: %w", err)
	}
	if err = errors.Join(copySnapshot(f, r), f.Close()); err != nil {
		return nil, nil, fmt.Errorf("receive: %w", err)
	}
	db, err := openStore(path)
	if err != nil {
		return nil, nil, err
	}
	im, err := loadImage(db)
	if err == nil {
		err = guarded(func() error { return db.View(verifySnapshot) })
	}
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, im, nil
}

// copySnapshot writes the file in a snapshot to f.
func copySnapshot(f *os.File, r io.Reader) error {
	total, err := io.Copy(f, r)
	if err != nil {
		return err
	}
	size := total - int64(snapshotFooter)
	if size <= 0 {
		return fmt.Errorf("%d bytes are no snapshot: %w", total, io.ErrUnexpectedEOF)
	}
	footer := make([]byte, snapshotFooter)
	if _, err := f.ReadAt(footer, size); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return err
	}
	if !bytes.Equal(footer, appendFooter(nil, size, sum)) {
		return fmt.Errorf("the snapshot is not what was sent: %w", errCorrupt)
	}
	return f.Truncate(size)
}

// verifySnapshot verifies the records that loadImage does not read.
func verifySnapshot(tx *bolt.Tx) error {
	if err := verifyChannels(tx, func(segment) {}); err != nil {
		return err
	}
	return tx.Bucket(bucketChunks).ForEach(func(key, value []byte) error {
		_, err := decodeChunk(key, value)
		return err
	})
}

package fsm

import (
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Freeing gigabytes at once keeps the file system, and every sync of the log, busy for up to
// a second. So a file shrinks by shrinkStep at a time, with shrinkPause in between.
const (
	shrinkStep  = 16 << 20
	shrinkPause = 25 * time.Millisecond
)

// releaseFile closes a replaced file, which has no name any more, once its readers are
// done. Then it frees the space.
func (s *State) releaseFile(db *bolt.DB, space *os.File) {
	retired := make(chan struct{})
	s.released = retired
	go func() {
		defer close(retired)
		err := db.Close()
		if err == nil {
			err = shrinkFile(space, s.flusher.quit)
		}
		if err = errors.Join(err, space.Close()); err != nil {
			s.fail(fmt.Errorf("close compacted file: %w", err))
		}
	}()
}

// shrinkFile empties a file step by step until quit. Closing the file then frees the rest
// at once.
func shrinkFile(f *os.File, quit <-chan struct{}) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for size := info.Size(); size > 0; {
		size = max(0, size-shrinkStep)
		if err := f.Truncate(size); err != nil {
			return err
		}
		select {
		case <-quit:
			return nil
		case <-time.After(shrinkPause):
		}
	}
	return nil
}

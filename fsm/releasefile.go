package fsm

import (
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// To free gigabytes at once keeps the file system busy for as much as a second, and
// every sync of the log waits with it. So a file is cut shorter by shrinkStep at a
// time, with a rest of shrinkPause between.
const (
	shrinkStep  = 16 << 20
	shrinkPause = 25 * time.Millisecond
)

// releaseFile closes a file that is not the state's any more, and has no name, as soon as
// those who still read it are done; an export may take long. Then its space is given
// back.
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

// shrinkFile empties a file little by little until quit: what it then has goes at once
// when it is closed.
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

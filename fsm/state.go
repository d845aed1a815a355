package fsm

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Config holds the place of a State and its bounds of memory.
type Config struct {
	// Dir is the folder of the state file. It is made if it does not exist.
	Dir string
	// Observer is notified of committed changes; it may be nil.
	Observer Observer
	// Fatal is called if the state cannot go on: its storage failed, a record is damaged,
	// or a committed command is unknown. No lock is held, and Fatal must not return.
	Fatal func(error)
	// Logger is required.
	Logger *slog.Logger
	// Watch is called before each write to the disk that could hang, and done at its end.
	// It may be nil.
	Watch func(what string) (done func())

	// FlushEvery is the longest time that an applied entry stays only in memory and in the
	// Raft log. Default 5 s.
	FlushEvery time.Duration
	// FlushBytes is the amount in memory that is flushed without waiting for FlushEvery.
	// Default 64 MiB.
	FlushBytes int64
	// PendingBytes bounds the changes that wait to be flushed; Entry waits for the flusher
	// beyond. Default 128 MiB.
	PendingBytes int64
	// CacheBytes bounds the memory for recent messages and their channels, besides changes
	// that wait to be flushed. Default 64 MiB.
	CacheBytes int64
	// CompactBytes is the smallest size of a state file that is compacted if half of it is
	// free. Default 64 MiB.
	CompactBytes int64
}

func (c *Config) complete() error {
	switch {
	case c.Dir == "":
		return errors.New("fsm: Config.Dir is empty")
	case c.Fatal == nil:
		return errors.New("fsm: Config.Fatal is nil")
	case c.Logger == nil:
		return errors.New("fsm: Config.Logger is nil")
	}
	if c.Watch == nil {
		c.Watch = func(string) func() { return func() {} }
	}
	if c.FlushEvery <= 0 {
		c.FlushEvery = 5 * time.Second
	}
	if c.FlushBytes <= 0 {
		c.FlushBytes = 64 << 20
	}
	if c.PendingBytes <= 0 {
		c.PendingBytes = 128 << 20
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = 64 << 20
	}
	if c.CompactBytes <= 0 {
		c.CompactBytes = 64 << 20
	}
	return nil
}

// State is one node's copy of the replicated state. Only the goroutine that applies entries
// may call Entry, Batch, Settle and Restore; any goroutine may call the rest.
//
// An entry changes memory only. The flusher writes changes to the state file in large
// transactions, each with the index of its last whole entry. The Raft log keeps later
// entries, so a reopened State continues after Applied.
type State struct {
	cfg Config

	flusher flusher

	// liveRegistry is image.registry for readers that must not wait for mu.
	liveRegistry atomic.Pointer[registry]

	// now is position.stamp for the same readers.
	now atomic.Int64

	// mu guards all fields below, and keeps db in place while a transaction begins. No one
	// holds it while waiting for the disk, except for point reads of the goroutine that
	// applies.
	mu sync.RWMutex
	db *bolt.DB // nil once closed
	*image

	channels map[ChannelKey]*channel // the resident ones
	counts   map[string]int          // number of channels by project, once a quota needed it
	cache    cache

	applied  position // last whole entry
	inEntry  bool     // image.position is ahead of applied
	skipping bool     // the entry was applied before a restart

	gathering *flushSet // applied since the last set was closed
	flushing  *flushSet // being written, or nil
	durable   uint64    // index of the last entry written
	blocks    int       // approximate number of blocks
	restores  int       // counts Restores
	failed    error     // storage failed; nothing is written any more
	flushed   *sync.Cond

	arena   messageArena
	touched []*channel // channels with messages that the observer has not seen
	events  []func(Observer)

	snapshots map[*snapshotReader]struct{}

	released <-chan struct{} // for the flusher: the file before the last compaction is closed
}

// Open opens the state in cfg.Dir, or begins an empty one.
func Open(cfg Config) (*State, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	db, err := openState(cfg.Dir)
	if err != nil {
		return nil, err
	}
	im, err := loadImage(db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	retired := make(chan struct{})
	close(retired)
	s := &State{cfg: cfg, snapshots: make(map[*snapshotReader]struct{}), released: retired}
	s.flushed = sync.NewCond(&s.mu)
	s.adopt(db, im)
	s.flusher.start(s)
	cfg.Logger.Info("state opened", "index", im.index, "projects", len(*im.registry.projects.Load()), "ids",
		len(im.ids.queue))
	return s, nil
}

// adopt replaces the state by a file and the image loaded from it.
func (s *State) adopt(db *bolt.DB, im *image) {
	s.db, s.image = db, im
	s.liveRegistry.Store(im.registry)
	s.now.Store(im.stamp)
	s.channels = make(map[ChannelKey]*channel)
	s.counts = make(map[string]int)
	s.cache = cache{limit: s.cfg.CacheBytes}
	s.applied, s.durable = im.position, im.index
	s.inEntry, s.skipping = false, false
	s.gathering, s.flushing = newFlushSet(im.ids), nil
	s.touched, s.events = nil, nil
}

// Close flushes and closes the state. The goroutine that applies must have stopped. Readers
// get ErrClosed from now on, and open snapshots end.
func (s *State) Close() error {
	s.flusher.stop()
	return errors.Join(s.flusher.abandonCompaction(), s.closeFile())
}

// closeFile closes the state file as it is, after its predecessor is closed.
func (s *State) closeFile() error {
	s.mu.Lock()
	db := s.db
	s.db = nil
	if s.failed == nil {
		s.failed = ErrClosed
	}
	s.cancelSnapshots(ErrClosed)
	s.flushed.Broadcast()
	s.mu.Unlock()
	<-s.released
	if db == nil {
		return nil
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// fail stops the node. No lock is held.
func (s *State) fail(err error) {
	s.mu.Lock()
	if s.failed == nil {
		s.failed = err
	}
	s.flushed.Broadcast()
	s.mu.Unlock()
	s.cfg.Fatal(fmt.Errorf("state in %s: %w", s.cfg.Dir, err))
}

// Applied returns the index and the term of the last whole entry.
func (s *State) Applied() (index, term uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied.index, s.applied.term
}

// Stamp returns the stamp of the last entry, Unix ms.
func (s *State) Stamp() int64 { return s.now.Load() }

// Deadline returns the stamp at which the next key expires, Unix ms, or 0.
func (s *State) Deadline() int64 { return s.liveRegistry.Load().deadline.Load() }

// ClusterID returns the id that Init gave the cluster, "" before.
func (s *State) ClusterID() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cluster.id
}

// Epoch returns the name of the offsets' numbering, "" before Init.
func (s *State) Epoch() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cluster.epoch
}

// Initialised reports whether the cluster has its first state.
func (s *State) Initialised() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cluster.initialised
}

// Keyring returns the sealed key-encryption key. It must not be changed.
func (s *State) Keyring() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cluster.keyring
}

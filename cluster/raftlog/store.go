package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/aptlyd/aptlyd/cluster/logbridge"
	"github.com/aptlyd/aptlyd/cluster/watchdog"
	"github.com/aptlyd/aptlyd/internal/durable"
)

// ErrReseed ends every refusal with the way out.
var ErrReseed = errors.New("empty the data folder to let the node come back as a new member")

// Store is Raft's log and stable store over raft-wal. It adds a
// checksum per entry, verified at every read; a cache of the newest entries; a
// watchdog; and a goroutine that writes commands while Raft sends them. It survives no
// storage error: a write that failed may be on the disk after all, which only a restart
// can tell.
type Store struct {
	dir      string
	wal      *wal.WAL
	meta     *metaStore
	cache    tailCache
	unsynced *unsynced
	changing sync.Mutex    // held while raft-wal is given entries, or deletes some
	written  chan struct{} // closed when the goroutine that writes has ended
	dog      *watchdog.Watchdog
	Pace     SyncPace
	fatal    func(error)
	observe  func(took time.Duration, entries int)

	Written atomic.Int64 // bytes stored since the last snapshot
	broken  atomic.Pointer[error]
}

var (
	_ raft.LogStore          = (*Store)(nil)
	_ raft.StableStore       = (*Store)(nil)
	_ raft.MonotonicLogStore = (*Store)(nil)
)

// Options configure a Store.
type Options struct {
	Dir          string
	SegmentBytes int
	CacheBytes   int           // for the newest entries
	WriteStall   time.Duration // a write that takes longer is fatal
	// Checked says that the log must have the checksums that an earlier opening made.
	Checked bool
	Fatal   func(error) // told of the first storage error
	Logger  *slog.Logger
	// Synced, if set, is told of each write: how long it took, syncing included, and how
	// many entries it brought to the disk.
	Synced func(took time.Duration, entries int)
}

// unsyncedBytes bounds the entries that wait for the disk.
const unsyncedBytes = 16 << 20

// Open opens the log. The data folder must be locked by then: a second
// opener would hang.
func Open(options Options) (*Store, error) {
	return openOn(options, fs.New(), &metadb.BoltMetaDB{})
}

func openOn(options Options, files types.VFS, meta types.MetaStore) (*Store, error) {
	dir := options.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make log folder: %w", err)
	}
	s := &Store{
		dir:      dir,
		cache:    tailCache{limit: options.CacheBytes},
		unsynced: newUnsynced(unsyncedBytes),
		written:  make(chan struct{}),
		fatal:    options.Fatal,
		observe:  options.Synced,
	}
	files = reportingFiles{files, s.failed, s.watch, func(id uint64) error { return s.meta.made(id) }}
	s.meta = &metaStore{MetaStore: meta, files: files, failed: s.failed, watch: s.watch, checked: options.Checked}
	if err := s.open(options, files); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	s.dog = watchdog.New(options.WriteStall, func(what string, limit time.Duration) {
		options.Fatal(fmt.Errorf("%s did not finish within %s: the disk hangs", what, limit))
	})
	go s.write()
	return s, nil
}

// watch watches one call of the disk, once the log is open. A new segment takes a dozen of
// them, which may well take longer together on a disk that is only slow.
func (s *Store) watch(what string) (done func()) {
	if s.dog == nil {
		return func() {}
	}
	return s.dog.Watch(what)
}

func (s *Store) open(options Options, files types.VFS) (err error) {
	dir := options.Dir
	s.wal, err = wal.Open(dir,
		wal.WithMetaStore(s.meta),
		wal.WithSegmentFiler(segment.NewFiler(dir, files)),
		wal.WithSegmentSize(options.SegmentBytes),
		wal.WithLogger(logbridge.Hclog(options.Logger, "wal")))
	if err != nil {
		return errors.Join(err, s.meta.Close())
	}
	if err := s.checkEnd(); err != nil {
		return errors.Join(err, s.wal.Close(), s.meta.Close())
	}
	return nil
}

// checkEnd refuses a log that ends before it did when it was closed. A log that was not
// closed may have lost no more than its last batch, which the scan of its end tells.
func (s *Store) checkEnd() error {
	closed, err := s.meta.number(closedKey)
	if err != nil || closed == 0 {
		return err
	}
	last, err := s.wal.LastIndex()
	if err != nil {
		return fmt.Errorf("read last entry: %w", err)
	}
	if last < closed {
		return fmt.Errorf("the log ends at entry %d but was closed at %d: %w", last, closed, ErrReseed)
	}
	return s.meta.setNumber(closedKey, 0)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers everything of an entry that Raft relies on.
func checksum(log *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], log.Index)
	binary.BigEndian.PutUint64(head[8:], log.Term)
	head[16] = byte(log.Type)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, log.Data)
}

// IsMonotonic tells Raft that the log takes no holes.
func (s *Store) IsMonotonic() bool { return s.wal.IsMonotonic() }

// FirstIndex returns 0 for an empty log.
func (s *Store) FirstIndex() (uint64, error) {
	waiting, _ := s.unsynced.bounds()
	first, err := s.wal.FirstIndex()
	if err == nil && first == 0 {
		first = waiting
	}
	return first, err
}

// LastIndex returns 0 for an empty log.
func (s *Store) LastIndex() (uint64, error) {
	if _, last := s.unsynced.bounds(); last > 0 {
		return last, nil
	}
	return s.wal.LastIndex()
}

// Bound returns index, or that of the last entry before it up to which the log is on the
// disk: nothing beyond may be called committed.
func (s *Store) Bound(index uint64) uint64 { return min(index, s.unsynced.oldest.Load()-1) }

// AwaitSynced returns once the log is on the disk up to an index, or with the reason why
// it never will be.
func (s *Store) AwaitSynced(index uint64) error { return s.unsynced.await(index) }

// GetLog returns raft.ErrLogNotFound, bare, where there is no entry: Raft
// compares with ==.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	if s.cache.get(index, log) || s.unsynced.get(index, log) {
		return nil
	}
	// raft-wal still finds entries that were deleted from the front, until their
	// file goes or the process restarts.
	if first, err := s.wal.FirstIndex(); err == nil && index < first {
		return raft.ErrLogNotFound
	}
	switch err := s.wal.GetLog(index, log); {
	case errors.Is(err, wal.ErrNotFound), errors.Is(err, raft.ErrLogNotFound):
		return raft.ErrLogNotFound
	case errors.Is(err, wal.ErrClosed):
		return err
	case err != nil:
		return s.failed(fmt.Errorf("read log entry %d%s: %w", index, s.place(index), err))
	}
	if len(log.Extensions) == 0 {
		return s.failed(fmt.Errorf("read log entry %d%s: %w: it has no checksum", index, s.place(index),
			durable.ErrOtherVersion))
	}
	intact := len(log.Extensions) == crc32.Size && binary.BigEndian.Uint32(log.Extensions) == checksum(log) &&
		log.Index == index
	if !intact {
		return s.failed(fmt.Errorf("read log entry %d%s: it is damaged (checksum mismatch)", index, s.place(index)))
	}
	log.Extensions = nil
	return nil
}

// place returns where the entry at index lies, for the operator.
func (s *Store) place(index uint64) string {
	file, err := segmentOf(s.dir, index)
	if err != nil {
		return "" // there is an error to report already
	}
	return " in " + filepath.Join(s.dir, file)
}

// StoreLog stores one entry.
func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs takes entries, which can be read from then on. Commands are written in the
// background: see AwaitSynced and Bound. With any other entry among them, StoreLogs returns
// when they are on the disk: such an entry changes what Raft itself does.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	if err := s.broken.Load(); err != nil {
		return *err
	}
	commands := true
	kept := make([]*raft.Log, len(logs))
	copies := make([]raft.Log, len(logs))
	for i, log := range logs {
		kept[i] = &copies[i]
		*kept[i] = *log
		kept[i].Extensions = nil
		commands = commands && log.Type == raft.LogCommand
	}
	if err := s.unsynced.take(kept); err != nil {
		return err
	}
	s.cache.add(kept)
	if commands {
		return nil
	}
	return s.AwaitSynced(kept[len(kept)-1].Index)
}

// write brings to the disk what was taken, all that waits at once, until the log is closed.
// Its first error is its last.
func (s *Store) write() {
	defer close(s.written)
	defer s.unsynced.end(wal.ErrClosed)
	for {
		logs := s.unsynced.next()
		if len(logs) == 0 {
			return
		}
		if err := s.append(logs); err != nil {
			s.unsynced.end(err)
			return
		}
		s.unsynced.landed(logs)
	}
}

// append writes entries, each with its checksum, and syncs.
func (s *Store) append(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	copies := make([]raft.Log, len(logs))
	sums := make([]byte, 0, crc32.Size*len(logs))
	for i, log := range logs {
		sealed[i] = &copies[i]
		*sealed[i] = *log
		sums = binary.BigEndian.AppendUint32(sums, checksum(log))
		sealed[i].Extensions = sums[crc32.Size*i : crc32.Size*(i+1)]
	}
	begun := time.Now()
	err := s.guard("append to log", func() error {
		s.changing.Lock()
		defer s.changing.Unlock()
		return s.wal.StoreLogs(sealed)
	})
	if err != nil {
		return err
	}
	ended := time.Now()
	s.Pace.add(ended, ended.Sub(begun))
	if s.observe != nil {
		s.observe(ended.Sub(begun), len(logs))
	}
	s.Written.Add(int64(size(logs)))
	return nil
}

// DeleteRange deletes from one end of the log, once what it deletes is on the disk.
func (s *Store) DeleteRange(first, last uint64) error {
	if err := s.AwaitSynced(last); err != nil {
		return err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	s.awaitRotation()
	s.cache.reset()
	return s.guard("truncate log", func() error { return s.wal.DeleteRange(first, last) })
}

// awaitRotation returns once raft-wal has begun the segment that the last append made due.
// It would delete before that, and then seal the wrong one. An append that it refuses, as
// of an entry 0, waits for it.
func (s *Store) awaitRotation() {
	if last, err := s.wal.LastIndex(); err == nil && last > 0 {
		_ = s.wal.StoreLogs([]*raft.Log{{}})
	}
}

// Set stores a value durably, after the whole log: a node neither votes nor enters a term
// with entries of an earlier one that a crash could take from it.
func (s *Store) Set(key, value []byte) error {
	if err := s.unsynced.awaitTaken(); err != nil {
		return err
	}
	return s.guard("store vote", func() error { return s.wal.Set(key, value) })
}

// SetUint64 stores a number as Set does.
func (s *Store) SetUint64(key []byte, value uint64) error {
	if err := s.unsynced.awaitTaken(); err != nil {
		return err
	}
	return s.guard("store term", func() error { return s.wal.SetUint64(key, value) })
}

// Get returns nothing where nothing is stored.
func (s *Store) Get(key []byte) ([]byte, error) { return s.wal.Get(key) }

// GetUint64 returns 0 where nothing is stored.
func (s *Store) GetUint64(key []byte) (uint64, error) { return s.wal.GetUint64(key) }

// guard runs a write; an error of it is fatal, and the last.
func (s *Store) guard(what string, run func() error) error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	switch err := run(); {
	case err == nil:
		return nil
	case errors.Is(err, wal.ErrClosed):
		return err
	default:
		return s.failed(fmt.Errorf("%s: %w", what, err))
	}
}

// failed reports the first error: later ones follow from it.
func (s *Store) failed(err error) error {
	if s.broken.CompareAndSwap(nil, &err) {
		s.fatal(err)
	}
	return err
}

// Close writes what waits, and closes the log and its meta store, which raft-wal leaves
// open.
func (s *Store) Close() error {
	s.unsynced.close()
	<-s.written
	defer s.dog.Close()
	if last, err := s.wal.LastIndex(); err == nil && last > 0 && s.broken.Load() == nil {
		if err := s.meta.setNumber(closedKey, last); err != nil {
			return errors.Join(fmt.Errorf("close log: %w", err), s.wal.Close(), s.meta.Close())
		}
	}
	if err := errors.Join(s.wal.Close(), s.meta.Close()); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

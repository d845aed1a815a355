package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
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
// checksum per entry, verified at every read; a cache of the newest entries; and a
// watchdog. It survives no storage error: a write that failed may be on the disk after
// all, which only a restart can tell.
type Store struct {
	dir   string
	wal   *wal.WAL
	meta  *metaStore
	cache tailCache
	dog   *watchdog.Watchdog
	Pace  SyncPace
	fatal func(error)

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
}

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
		dir:   dir,
		cache: tailCache{limit: options.CacheBytes},
		fatal: options.Fatal,
	}
	files = reportingFiles{files, s.failed, func(id uint64) error { return s.meta.made(id) }}
	s.meta = &metaStore{MetaStore: meta, files: files, failed: s.failed, checked: options.Checked}
	var err error
	s.wal, err = wal.Open(dir,
		wal.WithMetaStore(s.meta),
		wal.WithSegmentFiler(segment.NewFiler(dir, files)),
		wal.WithSegmentSize(options.SegmentBytes),
		wal.WithLogger(logbridge.Hclog(options.Logger, "wal")))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), s.meta.Close())
	}
	if err := s.checkEnd(); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), s.wal.Close(), s.meta.Close())
	}
	s.dog = watchdog.New(options.WriteStall, func(what string, limit time.Duration) {
		options.Fatal(fmt.Errorf("%s did not finish within %s: the disk hangs", what, limit))
	})
	return s, nil
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
func (s *Store) FirstIndex() (uint64, error) { return s.wal.FirstIndex() }

// LastIndex returns 0 for an empty log.
func (s *Store) LastIndex() (uint64, error) { return s.wal.LastIndex() }

// GetLog returns raft.ErrLogNotFound, bare, where there is no entry: Raft
// compares with ==.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	if s.cache.get(index, log) {
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

// StoreLogs returns when the entries are on the disk.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	var bytes int64
	sealed := make([]*raft.Log, len(logs))
	kept := make([]*raft.Log, len(logs))
	copies := make([]raft.Log, 2*len(logs))
	sums := make([]byte, 0, crc32.Size*len(logs))
	for i, log := range logs {
		kept[i], sealed[i] = &copies[2*i], &copies[2*i+1]
		*kept[i], *sealed[i] = *log, *log
		kept[i].Extensions = nil
		sums = binary.BigEndian.AppendUint32(sums, checksum(log))
		sealed[i].Extensions = sums[crc32.Size*i : crc32.Size*(i+1)]
		bytes += int64(len(log.Data) + logOverhead)
	}
	begun := time.Now()
	err := s.guard("append to log", func() error { return s.wal.StoreLogs(sealed) })
	if err != nil {
		return err
	}
	ended := time.Now()
	s.Pace.add(ended, ended.Sub(begun))
	s.cache.add(kept)
	s.Written.Add(bytes)
	return nil
}

// DeleteRange deletes from one end of the log.
func (s *Store) DeleteRange(first, last uint64) error {
	s.cache.reset()
	return s.guard("truncate log", func() error { return s.wal.DeleteRange(first, last) })
}

// Set stores a value durably.
func (s *Store) Set(key, value []byte) error {
	return s.guard("store vote", func() error { return s.wal.Set(key, value) })
}

// SetUint64 stores a number durably.
func (s *Store) SetUint64(key []byte, value uint64) error {
	return s.guard("store term", func() error { return s.wal.SetUint64(key, value) })
}

// Get returns nothing where nothing is stored.
func (s *Store) Get(key []byte) ([]byte, error) { return s.wal.Get(key) }

// GetUint64 returns 0 where nothing is stored.
func (s *Store) GetUint64(key []byte) (uint64, error) { return s.wal.GetUint64(key) }

// guard runs a write under the watchdog; an error of it is fatal, and the last.
func (s *Store) guard(what string, run func() error) error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	done := s.dog.Watch(what)
	err := run()
	done()
	switch {
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

// Close closes the log and its meta store, which raft-wal leaves open.
func (s *Store) Close() error {
	s.dog.Close()
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

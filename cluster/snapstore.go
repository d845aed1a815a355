package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/watchdog"
	"github.com/aptlyd/aptlyd/internal/durable"
)

// snapshotRecord is snapshot.json.
type snapshotRecord struct {
	Meta raft.SnapshotMeta `json:"meta"`
	// State is the last entry that the machine had consumed in the snapshot. It
	// lies below Meta.Index when the last entries were Raft's own.
	State uint64 `json:"state"`
	// Received: the state lies in the install file and the machine may not have
	// it yet.
	Received bool `json:"received,omitempty"`
	// Installed: the snapshot came from a leader, so the log may end before it.
	Installed bool `json:"installed,omitempty"`
}

// snapshotStore is Raft's view of the machine's state. A snapshot of this node is only a note
// that the state is durable up to an index. The state is read when a follower asks for it;
// by then it is a newer one, and its meta says so. A snapshot from a leader lies in a file
// until the machine has restored it.
type snapshotStore struct {
	dir     string
	machine Machine
	configs *configHistory
	fatal   func(error)
	// waits, if set, watches a transfer. While Raft waits for its next bytes it does
	// nothing else, and a sender that was paused never fails.
	waits *watchdog.Watchdog

	mu     sync.Mutex
	record *snapshotRecord // nil: none yet
}

func openSnapshotStore(dir string, machine Machine, configs *configHistory, fatal func(error)) (*snapshotStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make snapshot folder: %w", err)
	}
	s := &snapshotStore{dir: dir, machine: machine, configs: configs, fatal: fatal}
	raw, err := os.ReadFile(s.recordPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read snapshot: %w", err)
	default:
		s.record = new(snapshotRecord)
		format, err := durable.UnsealJSON(raw, s.record)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", s.recordPath(), err)
		}
		if format != durable.SealedFormat {
			if err := s.put(*s.record); err != nil {
				return nil, err
			}
		}
		configs.add(s.record.Meta.ConfigurationIndex, s.record.Meta.Configuration)
	}
	leftovers := []string{s.installPath() + ".tmp"}
	if s.record == nil || !s.record.Received {
		leftovers = append(leftovers, s.installPath())
	}
	for _, path := range leftovers {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
		}
	}
	return s, nil
}

func (s *snapshotStore) recordPath() string  { return filepath.Join(s.dir, "snapshot.json") }
func (s *snapshotStore) installPath() string { return filepath.Join(s.dir, "install.state") }

// newest returns a copy of the newest snapshot's record.
func (s *snapshotStore) newest() (snapshotRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record == nil {
		return snapshotRecord{}, false
	}
	return *s.record, true
}

var errOlderSnapshot = errors.New("a newer snapshot is there already")

// put makes a record the newest, durably.
func (s *snapshotStore) put(record snapshotRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// While a snapshot was being taken, a newer one may have been installed.
	if s.record != nil && record.Meta.Index < s.record.Meta.Index {
		return errOlderSnapshot
	}
	raw, err := durable.SealJSON(record)
	if err != nil {
		return fmt.Errorf("encode snapshot: %w", err)
	}
	if err := durable.Write(s.recordPath(), raw); err != nil {
		return s.failed(fmt.Errorf("write snapshot: %w", err))
	}
	s.record = &record
	return nil
}

func (s *snapshotStore) failed(err error) error {
	s.fatal(err)
	return err
}

// List returns the one snapshot there is, if any.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	record, ok := s.newest()
	if !ok {
		return nil, nil
	}
	return []*raft.SnapshotMeta{&record.Meta}, nil
}

// Open opens the newest snapshot for reading and returns its meta. It ignores the id.
func (s *snapshotStore) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	record, ok := s.newest()
	if !ok {
		return nil, nil, errors.New("there is no snapshot")
	}
	if record.Received {
		f, err := os.Open(s.installPath())
		if err != nil {
			return nil, nil, fmt.Errorf("open received snapshot: %w", err)
		}
		return &record.Meta, f, nil
	}
	r, size, index, term, err := s.machine.Snapshot()
	if err != nil {
		return nil, nil, fmt.Errorf("export state: %w", err)
	}
	meta := record.Meta
	meta.Size = size
	switch {
	case index < record.State:
		return nil, nil, errors.Join(
			fmt.Errorf("export state: it ends at entry %d, the snapshot covers %d", index, record.State),
			r.Close())
	case index > meta.Index:
		configIndex, config, ok := s.configs.at(index)
		if !ok {
			return nil, nil, errors.Join(
				fmt.Errorf("export state: the configuration as of entry %d is not known", index),
				r.Close())
		}
		meta.Index, meta.Term = index, term
		meta.ConfigurationIndex, meta.Configuration = configIndex, config
	}
	return &meta, r, nil
}

// Create begins a snapshot, taken here or sent by a leader. Persist marks one taken here, and
// bytes are only written for one that a leader sends.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	id := fmt.Sprintf("%d-%d", term, index)
	return &snapshotSink{store: s, waited: s.await(id), record: snapshotRecord{Meta: raft.SnapshotMeta{
		Version:            version,
		ID:                 id,
		Index:              index,
		Term:               term,
		Configuration:      configuration,
		ConfigurationIndex: configurationIndex,
	}}}, nil
}

// await begins to wait for the next bytes of a snapshot.
func (s *snapshotStore) await(id string) (came func()) {
	if s.waits == nil {
		return func() {}
	}
	return s.waits.Watch(id)
}

// settle notes that the machine has restored the received snapshot. From here on
// the machine's own state is the snapshot.
func (s *snapshotStore) settle() error {
	record, ok := s.newest()
	if !ok || !record.Received {
		return nil
	}
	record.Received = false
	record.State, _ = s.machine.Applied()
	if err := s.put(record); err != nil {
		return err
	}
	s.configs.restart(record.Meta.ConfigurationIndex, record.Meta.Configuration)
	if err := os.Remove(s.installPath()); err != nil {
		return s.failed(fmt.Errorf("remove restored snapshot: %w", err))
	}
	return nil
}

// snapshotSink takes one snapshot. Raft may close or cancel it more than once.
type snapshotSink struct {
	store  *snapshotStore
	record snapshotRecord
	taken  bool     // by this node: the state is the machine's
	file   *os.File // of an install, once bytes arrive
	ended  bool
	waited func() // ends the watch over the next bytes
}

var _ raft.SnapshotSink = (*snapshotSink)(nil)

func (k *snapshotSink) ID() string { return k.record.Meta.ID }

func (k *snapshotSink) temporary() string { return k.store.installPath() + ".tmp" }

func (k *snapshotSink) Write(b []byte) (int, error) {
	k.waited()
	if k.ended {
		return 0, fs.ErrClosed
	}
	defer func() { k.waited = k.store.await(k.ID()) }()
	if k.file == nil {
		f, err := os.OpenFile(k.temporary(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return 0, k.store.failed(fmt.Errorf("receive snapshot: %w", err))
		}
		k.file = f
	}
	n, err := k.file.Write(b)
	k.record.Meta.Size += int64(n)
	if err != nil {
		return n, k.store.failed(fmt.Errorf("receive snapshot: %w", err))
	}
	return n, nil
}

// Close makes the snapshot durable and the newest one.
func (k *snapshotSink) Close() error {
	k.waited()
	if k.ended {
		return nil
	}
	k.ended = true
	if k.taken {
		return k.store.put(k.record)
	}
	if k.file == nil {
		return errors.New("received snapshot is empty")
	}
	if err := errors.Join(k.file.Sync(), k.file.Close()); err != nil {
		return k.store.failed(fmt.Errorf("sync received snapshot: %w", err))
	}
	if err := durable.Rename(k.temporary(), k.store.installPath()); err != nil {
		return k.store.failed(fmt.Errorf("keep received snapshot: %w", err))
	}
	k.record.Received, k.record.Installed = true, true
	return k.store.put(k.record)
}

// Cancel forgets the snapshot.
func (k *snapshotSink) Cancel() error {
	k.waited()
	if k.ended {
		return nil
	}
	k.ended = true
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Close(), os.Remove(k.temporary()))
}

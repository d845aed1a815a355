package raftlog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/aptlyd/aptlyd/internal/durable"
)

// metaStore holds the list of segments for raft-wal. It reports a failed change at once.
// Load mends two gaps of raft-wal 0.4.0, each of which shows only after a restart:
//
//   - A follower drops the end of its log, as it may after every change of leaders. Its
//     segment is called sealed then but gets no index. None of its entries can be read.
//   - The process ends when the newest segment is sealed and the next one not yet
//     known. The log refuses every append from then on.
//
// It also tells a damaged log from a whole one. For that it keeps a checksum of the list of
// segments, the newest segment whose file was made, and the end of the log at its close. It
// keeps which of Raft's values there are, too: one whose key is damaged would read as none.
// Everything is written twice: bbolt goes back to the transaction before when the page that
// leads to the last one is damaged.
type metaStore struct {
	types.MetaStore
	files  types.VFS
	failed func(error) error // returns what it is given
	watch  func(what string) (done func())
	// checked says that the checksum of the segments was stored once, so that it must
	// be there.
	checked bool
	sum     []byte // of the segments, as they are stored

	mu   sync.Mutex
	keys []string // of Raft's values that are stored
}

// The keys of what it keeps beside Raft's values. They sort behind those, so that a
// page that lost its last entries lost these.
var (
	closedKey = []byte("~closed")   // last index when the log was closed, 0 while it is open
	keysKey   = []byte("~keys")     // the keys of Raft's values that are stored, one a line
	madeKey   = []byte("~made")     // 1 + the id of the newest segment whose file was made
	sumsKey   = []byte("~segments") // checksums of the segments before and after a change
)

// segmentsSum returns the checksum of the list of segments.
func segmentsSum(state types.PersistentState) ([]byte, error) {
	text, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("encode log segments: %w", err)
	}
	return binary.BigEndian.AppendUint32(nil, crc32.Checksum(text, castagnoli)), nil
}

// CommitState stores the list of segments. A crash leaves the old ones or the new
// ones, so the checksums of both are stored before.
func (m *metaStore) CommitState(state types.PersistentState) error {
	next, err := segmentsSum(state)
	if err == nil {
		err = m.setStable(sumsKey, slices.Concat(m.sum, next))
	}
	for range 2 {
		if err == nil {
			err = m.commit(func() error { return m.MetaStore.CommitState(state) })
		}
	}
	if err != nil {
		return m.failed(fmt.Errorf("store what log segments there are: %w", err))
	}
	m.sum = next
	return nil
}

// SetStable stores a value with its checksum. Raft keeps its term and its vote here:
// a node that forgets a vote may elect two leaders.
func (m *metaStore) SetStable(key, value []byte) error {
	if err := m.setTwice(key, value); err != nil {
		return err
	}
	if bytes.HasPrefix(key, []byte("~")) {
		return nil // it is none of Raft's
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.keys, string(key)) {
		return nil
	}
	m.keys = append(m.keys, string(key)) // a write that fails is the last
	return m.setTwice(keysKey, m.keyList())
}

func (m *metaStore) keyList() []byte { return []byte(strings.Join(m.keys, "\n")) }

func (m *metaStore) setTwice(key, value []byte) error {
	if err := m.setStable(key, value); err != nil {
		return err
	}
	return m.setStable(key, value)
}

func (m *metaStore) setStable(key, value []byte) error {
	sealed := binary.BigEndian.AppendUint32(slices.Clip(value), stableChecksum(key, value))
	return m.commit(func() error { return m.MetaStore.SetStable(key, sealed) })
}

// commit runs one transaction.
func (m *metaStore) commit(transaction func() error) error {
	defer m.watch("write " + metadb.FileName)()
	return guarded(transaction)
}

// setNumber stores a number of the log's own.
func (m *metaStore) setNumber(key []byte, n uint64) error {
	if err := m.SetStable(key, binary.BigEndian.AppendUint64(nil, n)); err != nil {
		return m.failed(fmt.Errorf("store %s: %w", key, err))
	}
	return nil
}

// number returns 0 where nothing is stored.
func (m *metaStore) number(key []byte) (uint64, error) {
	value, err := m.GetStable(key)
	if err != nil || value == nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, m.failed(fmt.Errorf("read %s: %w", key, durable.ErrDamaged))
	}
	return binary.BigEndian.Uint64(value), nil
}

// made notes that a segment's file is there, durably.
func (m *metaStore) made(id uint64) error { return m.setNumber(madeKey, id+1) }

// guarded turns a panic of bbolt at a damaged page into an error.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%s: %w: %v", metadb.FileName, durable.ErrDamaged, cause)
		}
	}()
	return fn()
}

// GetStable returns nothing where nothing is stored.
func (m *metaStore) GetStable(key []byte) (stored []byte, err error) {
	err = guarded(func() (err error) {
		stored, err = m.MetaStore.GetStable(key)
		return err
	})
	if errors.Is(err, durable.ErrDamaged) {
		return nil, m.failed(err)
	}
	if err != nil || stored == nil {
		return nil, err
	}
	n := len(stored) - crc32.Size
	if len(stored) == 8 && slices.Contains(numbers, string(key)) {
		return nil, m.failed(fmt.Errorf("read %s: %w: it has no checksum", key, durable.ErrOtherVersion))
	}
	if n < 0 || binary.BigEndian.Uint32(stored[n:]) != stableChecksum(key, stored[:n]) {
		return nil, m.failed(fmt.Errorf("read %s: %w (checksum mismatch)", key, durable.ErrDamaged))
	}
	return stored[:n:n], nil
}

// numbers are the values of Raft that have 8 bytes without a checksum.
var numbers = []string{"CurrentTerm", "LastVoteTerm"}

func stableChecksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// Load returns the segments: sealed ones with an index, and one that is not sealed
// at the end.
func (m *metaStore) Load(dir string) (types.PersistentState, error) {
	var state types.PersistentState
	err := guarded(func() (err error) {
		state, err = m.MetaStore.Load(dir)
		return err
	})
	if err == nil {
		err = m.checkKeys()
	}
	if err == nil {
		err = m.checkSegments(dir, state)
	}
	if err != nil || len(state.Segments) == 0 {
		return state, err
	}
	for i := range state.Segments {
		info := &state.Segments[i]
		if info.SealTime.IsZero() || info.IndexStart != 0 {
			continue
		}
		path := filepath.Join(dir, segment.FileName(*info))
		if info.IndexStart, err = writeSegmentIndex(path, int(info.MaxIndex-info.BaseIndex+1)); err != nil {
			return state, fmt.Errorf("mend log segment %s: %w", filepath.Base(path), err)
		}
	}
	if newest := &state.Segments[len(state.Segments)-1]; newest.SealTime.IsZero() {
		tail, err := settleTail(m.files, dir, *newest)
		if err != nil {
			return state, err
		}
		if tail.index != 0 {
			now := time.Now()
			newest.SealTime, newest.IndexStart = now, uint64(tail.index)
			newest.MaxIndex = newest.BaseIndex + uint64(tail.entries) - 1
			state.Segments = append(state.Segments, types.SegmentInfo{
				ID:         state.NextSegmentID,
				BaseIndex:  newest.MaxIndex + 1,
				MinIndex:   newest.MaxIndex + 1,
				Codec:      newest.Codec,
				CreateTime: now,
				SizeLimit:  newest.SizeLimit,
			})
			state.NextSegmentID++
		}
	}
	return state, m.renew(dir, state)
}

// checkKeys reads the keys of Raft's values, and refuses to go on without one of those.
func (m *metaStore) checkKeys() error {
	list, err := m.GetStable(keysKey)
	if err != nil || list == nil {
		return err // an older version has kept none
	}
	m.keys = strings.Split(string(list), "\n")
	for _, key := range m.keys {
		if value, err := m.GetStable([]byte(key)); err != nil || value == nil {
			return cmp.Or(err, fmt.Errorf("read %s from %s: %w: it is not there any more", key, metadb.FileName,
				durable.ErrDamaged))
		}
	}
	return nil
}

// checkSegments compares the list of segments with its checksum, and their files with the
// least size that they must have.
func (m *metaStore) checkSegments(dir string, state types.PersistentState) (err error) {
	if m.sum, err = segmentsSum(state); err != nil {
		return err
	}
	sums, err := m.GetStable(sumsKey)
	if err != nil {
		return err
	}
	if m.checked && sums == nil && len(state.Segments) == 0 {
		return fmt.Errorf("this node had a log but its log is gone: %w", ErrReseed)
	}
	known := slices.Collect(slices.Chunk(sums, crc32.Size))
	if (m.checked || sums != nil) && !slices.ContainsFunc(known,
		func(sum []byte) bool { return bytes.Equal(sum, m.sum) }) {
		return fmt.Errorf("read what log segments there are from %s: %w (checksum mismatch)", metadb.FileName,
			durable.ErrDamaged)
	}
	made, err := m.number(madeKey)
	if err != nil {
		return err
	}
	for _, info := range state.Segments {
		least := int64(info.SizeLimit) // what a new file is given
		if !info.SealTime.IsZero() {
			least = int64(info.IndexStart)
			if least != 0 {
				least += 4 * int64(info.MaxIndex-info.BaseIndex+1)
			}
		} else if info.ID >= made {
			continue // the process may have ended before it had made the file
		}
		name := segment.FileName(info)
		file, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("look at log segment: %w", err)
		}
		if file.Size() < least {
			return fmt.Errorf("log segment %s is cut short: it has %d bytes where there were at least %d: %w",
				name, file.Size(), least, ErrReseed)
		}
	}
	return nil
}

// raftKeys are the keys of what Raft stores, the term first.
var raftKeys = append(numbers, "LastVoteCand")

// renew stores again what was loaded. The kernel may show pages of a failed transaction that
// are not on the disk, and later ones would build on them.
func (m *metaStore) renew(dir string, state types.PersistentState) error {
	if err := m.CommitState(state); err != nil {
		return err
	}
	made, err := m.number(madeKey)
	if err != nil {
		return err
	}
	newest := state.Segments[len(state.Segments)-1]
	if file, err := os.Stat(filepath.Join(dir, segment.FileName(newest))); err == nil &&
		file.Size() >= int64(newest.SizeLimit) {
		made = max(made, newest.ID+1) // settleTail has synced it
	}
	if err := m.setNumber(madeKey, made); err != nil {
		return err
	}
	for _, key := range raftKeys {
		if value, err := m.GetStable([]byte(key)); err != nil {
			return err
		} else if value != nil && !slices.Contains(m.keys, key) {
			m.keys = append(m.keys, key)
		}
	}
	if len(m.keys) == 0 {
		return nil
	}
	if err := m.setTwice(keysKey, m.keyList()); err != nil {
		return err
	}
	term, err := m.GetStable([]byte(raftKeys[0]))
	if err != nil || term == nil {
		return err
	}
	return m.SetStable([]byte(raftKeys[0]), term)
}

// writeSegmentIndex appends the offsets of a segment's first count entries to its
// file, durably, and returns where they begin.
func writeSegmentIndex(path string, count int) (start uint64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	offsets, err := entryOffsets(f, count)
	if err != nil {
		return 0, err
	}
	at := (size + frameAlign - 1) / frameAlign * frameAlign
	if _, err := f.WriteAt(offsets, at); err != nil {
		return 0, err
	}
	return uint64(at), f.Sync()
}

// entryOffsets returns the file offsets of the first count entry frames, as
// raft-wal keeps them: 32 bits each, little endian.
func entryOffsets(r io.ReaderAt, count int) ([]byte, error) {
	offsets := make([]byte, 0, 4*count)
	var head [frameAlign]byte
	for at := int64(segmentHeaderBytes); len(offsets) < 4*count; {
		if _, err := r.ReadAt(head[:], at); err != nil {
			return nil, fmt.Errorf("read frame at %d: %w", at, err)
		}
		switch head[0] {
		case frameCommit:
			at += frameAlign
			continue
		case frameEntry:
			offsets = binary.LittleEndian.AppendUint32(offsets, uint32(at))
		case frameIndex:
		default:
			return nil, fmt.Errorf("%d of %d entries are there: %w", len(offsets)/4, count, types.ErrCorrupt)
		}
		length := int64(binary.LittleEndian.Uint32(head[4:]))
		at += frameAlign + (length+frameAlign-1)/frameAlign*frameAlign
	}
	return offsets, nil
}

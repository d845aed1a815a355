package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// logMeta is raft-wal's store for what segments there are. It reports at once
// what could not be stored, and when it is loaded it mends two gaps of raft-wal
// 0.4.0, each of which shows only after a restart:
//
//   - A follower drops the end of its log, which every change of leaders may make it
//     do. The segment is called sealed then but gets no index, so that none of its
//     entries can be read any more.
//   - The process ends when the newest segment is sealed and the next one not yet
//     known. The log refuses every append from then on.
type logMeta struct {
	types.MetaStore
	files  types.VFS
	failed func(error) error // returns what it is given
}

// CommitState stores what segments there are.
func (m *logMeta) CommitState(state types.PersistentState) error {
	if err := m.MetaStore.CommitState(state); err != nil {
		return m.failed(fmt.Errorf("store what log segments there are: %w", err))
	}
	return nil
}

// SetStable stores a value with its checksum. Raft keeps its term and its vote here:
// who forgets a vote may elect two leaders.
func (m *logMeta) SetStable(key, value []byte) error {
	return m.MetaStore.SetStable(key, binary.BigEndian.AppendUint32(slices.Clip(value), stableChecksum(key, value)))
}

// GetStable returns nothing where nothing is stored.
func (m *logMeta) GetStable(key []byte) ([]byte, error) {
	stored, err := m.MetaStore.GetStable(key)
	if err != nil || stored == nil {
		return nil, err
	}
	n := len(stored) - crc32.Size
	if n < 0 || binary.BigEndian.Uint32(stored[n:]) != stableChecksum(key, stored[:n]) {
		return nil, m.failed(fmt.Errorf("read %s: it is damaged (checksum mismatch)", key))
	}
	return stored[:n:n], nil
}

func stableChecksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// Load returns the segments: sealed ones with an index, and one that is not sealed
// at the end.
func (m *logMeta) Load(dir string) (types.PersistentState, error) {
	state, err := m.MetaStore.Load(dir)
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
	return state, m.renew(state)
}

// stableKey is one of the keys that Raft stores.
var stableKey = []byte("CurrentTerm")

// renew stores again what was loaded: of a transaction that failed, the kernel may
// show pages that are not on the disk, and later ones would build on them.
func (m *logMeta) renew(state types.PersistentState) error {
	if err := m.CommitState(state); err != nil {
		return err
	}
	term, err := m.GetStable(stableKey)
	if err != nil || term == nil {
		return err
	}
	return m.SetStable(stableKey, term)
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

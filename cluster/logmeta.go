package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// logMeta is raft-wal's store for what segments there are. It mends a gap of
// raft-wal 0.4.0: when a follower drops the end of its log, which every change of
// leaders may make it do, the segment is called sealed but gets no index. That
// shows only after a restart, when none of its entries can be read any more.
// logMeta writes the missing index at that start.
type logMeta struct{ metadb.BoltMetaDB }

// Load returns the segments, each sealed one with an index.
func (m *logMeta) Load(dir string) (types.PersistentState, error) {
	state, err := m.BoltMetaDB.Load(dir)
	if err != nil {
		return state, err
	}
	mended := false
	for i := range state.Segments {
		info := &state.Segments[i]
		if info.SealTime.IsZero() || info.IndexStart != 0 {
			continue
		}
		path := filepath.Join(dir, segment.FileName(*info))
		if info.IndexStart, err = writeSegmentIndex(path, int(info.MaxIndex-info.BaseIndex+1)); err != nil {
			return state, fmt.Errorf("mend log segment %s: %w", filepath.Base(path), err)
		}
		mended = true
	}
	if mended {
		err = m.CommitState(state)
	}
	return state, err
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

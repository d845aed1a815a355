package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/aptlyd/aptlyd/internal/durable"
)

// tail is the part of an unsealed segment that raft-wal takes for written.
type tail struct {
	entries    int
	batch, end int // where the last commit begins and ends
	index      int // where the index is that seals the segment; 0: there is none
}

// findTail follows raft-wal's own recovery: of all commits only the last one is
// verified, and only when nothing was written behind it.
func findTail(b []byte) tail {
	var last, before tail
	read := tail{end: segmentHeaderBytes}
	for read.end+frameAlign <= len(b) {
		kind, value := b[read.end], binary.LittleEndian.Uint32(b[read.end+4:])
		if kind != frameEntry && kind != frameIndex && kind != frameCommit {
			break
		}
		read.end += frameAlign
		switch kind {
		case frameCommit:
			read.batch = last.end
			before, last = last, read
			continue
		case frameEntry:
			read.entries++
		case frameIndex:
			read.index = read.end
		}
		read.end += (int(value) + frameAlign - 1) / frameAlign * frameAlign
	}
	if last.end == 0 || read.entries > last.entries {
		return last
	}
	commit := last.end - frameAlign
	if crc32.Checksum(b[last.batch:commit], castagnoli) != binary.LittleEndian.Uint32(b[commit+4:]) {
		return before
	}
	return last
}

// settleTail makes the end of the newest segment's file definite, because raft-wal opens it
// without writing anything. It writes the last batch and syncs it again: after a failed sync,
// or an end of the process before it, the kernel shows bytes that may not be on the disk. It
// wipes a torn batch out, since raft-wal takes a torn index for a full segment. A file that
// does not exist has an empty tail.
func settleTail(files types.VFS, dir string, info types.SegmentInfo) (last tail, err error) {
	name := segment.FileName(info)
	var batch []byte
	torn := 0
	err = mapSegment(filepath.Join(dir, name), func(b []byte) error {
		last = findTail(b)
		stored := info.BaseIndex + uint64(last.entries) - 1
		if lost := scanCommits(b, stored); lost != 0 {
			return fmt.Errorf("%s is damaged: it ends at entry %d although entry %d was stored; "+
				"empty the data folder to let the node come back as a new one", name, stored, lost)
		}
		batch = bytes.Clone(b[last.batch:last.end])
		torn = len(bytes.TrimRight(b[last.end:], "\x00"))
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return tail{}, nil
	}
	if err != nil {
		return last, err
	}
	f, err := files.OpenWriter(dir, name)
	if err != nil {
		return last, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if len(batch) > 0 {
		if _, err := f.WriteAt(batch, int64(last.batch)); err != nil {
			return last, err
		}
	}
	if torn > 0 {
		if _, err := f.WriteAt(make([]byte, torn), int64(last.end)); err != nil {
			return last, err
		}
	}
	if err := f.Sync(); err != nil {
		return last, err
	}
	return last, durable.Sync(dir)
}

package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A segment file of raft-wal holds frames, each padded to 8 bytes:
//
//	0      1             4            8
//	+------+-------------+------------+- - - - -+
//	| type | zero        | length/CRC | payload |
//	+------+-------------+------------+- - - - -+
//
// A commit frame's CRC covers everything since the commit frame before it. When
// a frame header in the middle is damaged, raft-wal takes what follows for a
// torn write and opens the log short, without an error. An intact commit behind
// that end says otherwise: it was written after everything before it had been
// synced.
const (
	segmentHeaderBytes = 32
	frameAlign         = 8
	frameEntry         = 1
	frameIndex         = 2
	frameCommit        = 3
)

// segmentName is raft-wal's name of a segment's file: first index, and id.
const segmentName = "%020d-%016x.wal"

// segmentOf names the newest segment file in dir that can hold the entry at index.
func segmentOf(dir string, index uint64) (string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("list log segments: %w", err)
	}
	var newest string
	var newestID uint64
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".wal") {
			continue
		}
		var base, id uint64
		if _, err := fmt.Sscanf(file.Name(), segmentName, &base, &id); err != nil {
			return "", fmt.Errorf("list log segments: %s: %w", file.Name(), err)
		}
		if base <= index && (newest == "" || id > newestID) {
			newest, newestID = file.Name(), id
		}
	}
	if newest == "" {
		return "", errors.New("list log segments: there is none")
	}
	return newest, nil
}

// mapSegment hands a segment file's content to use. It is mapped rather than read:
// segments are preallocated, and a heap that once held one stays large.
func mapSegment(path string, use func([]byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return use(nil)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	return errors.Join(use(b), unix.Munmap(b))
}

// scanCommits returns the index of an entry above last that an intact commit
// covers, or 0.
func scanCommits(b []byte, last uint64) uint64 {
	// raft-wal sees the intact commits from the start on. The search for a lost commit
	// begins behind them, so that nothing inside a payload is mistaken for one.
	end := 0
	for skip := segmentHeaderBytes; ; skip = 0 {
		_, size := nextCommit(b[end:], skip)
		if size == 0 {
			break
		}
		end += size
	}
	// The commit frame before a lost commit may itself be damaged, so every place is tried.
	for at := max(end, segmentHeaderBytes); at+frameAlign <= len(b); at += frameAlign {
		if b[at] != frameEntry || b[at+1]|b[at+2]|b[at+3] != 0 {
			continue
		}
		if index, _ := nextCommit(b[at:], 0); index > last {
			return index
		}
	}
	return 0
}

// nextCommit walks the frames of one commit, the first one skip bytes into b. It
// returns the index of its last entry and its size, or zeros when it is not
// intact.
func nextCommit(b []byte, skip int) (index uint64, size int) {
	for at := skip; at+frameAlign <= len(b); {
		value := binary.LittleEndian.Uint32(b[at+4:])
		switch b[at] {
		case frameCommit:
			if crc32.Checksum(b[:at], castagnoli) != value {
				return 0, 0
			}
			return index, at + frameAlign
		case frameEntry, frameIndex:
			length := int(value)
			end := at + frameAlign + (length+frameAlign-1)/frameAlign*frameAlign
			if end > len(b) {
				return 0, 0
			}
			if b[at] == frameEntry {
				// A log's binary form begins with its index.
				if index, _ = binary.Uvarint(b[at+frameAlign : at+frameAlign+length]); index == 0 {
					return 0, 0
				}
			}
			at = end
		default:
			return 0, 0
		}
	}
	return 0, 0
}

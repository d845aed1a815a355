//go:build planted

package cluster

import (
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

// plantedNoChecksum: damaged log entries are taken as they are.
var plantedNoChecksum = os.Getenv("APTLYD_PLANTED") == "no-checksum"

// plant makes logs short and names free soon, where the environment says so, for
// snapshots and takeovers to happen within seconds.
func plant(c Config) Config {
	if n, err := strconv.Atoi(os.Getenv("APTLYD_PLANTED_LOG_BYTES")); err == nil {
		c.LogSegmentBytes, c.SnapshotBytes, c.TrailingBytes = n, int64(n), int64(n)/4
	}
	if d, err := time.ParseDuration(os.Getenv("APTLYD_PLANTED_NAME_FREE")); err == nil {
		c.NameFreeAfter = d
	}
	return c
}

// logFiles is where the log's files are. With "ack-before-sync" entries count as
// stored when the kernel has them.
func logFiles() types.VFS {
	if os.Getenv("APTLYD_PLANTED") == "ack-before-sync" {
		return unsynced{fs.New()}
	}
	return fs.New()
}

type unsynced struct{ types.VFS }

func (u unsynced) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := u.VFS.Create(dir, name, size)
	return unsyncedFile{f}, err
}

func (u unsynced) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := u.VFS.OpenWriter(dir, name)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ types.WritableFile }

func (unsyncedFile) Sync() error { return nil }

// wallMillis is the wall clock's part of t in Unix ms, moved by the offset in a
// file, in ms, that the environment names: a clock that can be set for one node.
func wallMillis(t time.Time) int64 {
	text, err := os.ReadFile(os.Getenv("APTLYD_PLANTED_CLOCK"))
	if err != nil {
		return t.UnixMilli()
	}
	offset, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return t.UnixMilli()
	}
	return t.UnixMilli() + offset
}

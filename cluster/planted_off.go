//go:build !planted

package cluster

import (
	"time"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

// What the tag "planted" breaks, for test/torture to find. Here nothing is.
const plantedNoChecksum = false

func plant(c Config) Config { return c }

// logFiles is where the log's files are.
func logFiles() types.VFS { return fs.New() }

// wallMillis is the wall clock's part of t in Unix ms.
func wallMillis(t time.Time) int64 { return t.UnixMilli() }

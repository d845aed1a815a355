package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// diskPoll is the pause between two looks at the free space. handOverWait is the pause before a node that
// is short of space hands over leadership again.
const (
	diskPoll     = time.Second
	handOverWait = 10 * time.Second
)

// errDiskFull refuses a publish while the node is short of disk space.
var errDiskFull = &refusal.Error{
	Code: refusal.Unavailable, Reason: "the node is short of disk space", RetryAfter: diskPoll,
}

// diskWatch notices early that a disk fills up. A log that cannot be written stops the
// node, so publishes are refused while there is room for everything else.
type diskWatch struct {
	reserve uint64                 // bytes that must stay free
	free    func() (uint64, error) // bytes free for the node's files
	size    func() (uint64, error) // bytes that these files take
	yield   func(context.Context)  // hands over leadership, if the node has it
	log     *slog.Logger
	low     atomic.Bool
	left    atomic.Uint64 // last result of free
	used    atomic.Uint64 // last result of size

	unmeasured bool // the last size failed; belongs to run
}

// folderBytes returns a function that returns the bytes that a folder's files take. Files
// that disappear meanwhile do not count.
func folderBytes(dir string) func() (uint64, error) {
	return func() (uint64, error) {
		var total uint64
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			var file unix.Stat_t
			if err == nil && entry.Type().IsRegular() {
				if err = unix.Lstat(path, &file); err == nil {
					total += uint64(file.Blocks) * 512
				}
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("look at the size of %s: %w", dir, err)
		}
		return total, nil
	}
}

// measure updates the size of the node's files. The figure serves people and metrics only,
// so a failed walk keeps the last one.
func (d *diskWatch) measure() {
	used, err := d.size()
	if failed := err != nil; failed != d.unmeasured {
		d.unmeasured = failed
		if failed {
			d.log.Warn("the size of the data folder cannot be told; its metric stays as it is", "err", err)
		} else {
			d.log.Info("the size of the data folder can be told again")
		}
	}
	if err == nil {
		d.used.Store(used)
	}
}

// run watches until ctx ends or free space cannot be read.
func (d *diskWatch) run(ctx context.Context) error {
	ticker := time.NewTicker(diskPoll)
	defer ticker.Stop()
	var yielded time.Time
	for {
		free, err := d.free()
		if err != nil {
			return err
		}
		d.left.Store(free)
		d.measure()
		low := free < d.reserve
		if d.low.Swap(low) != low {
			if low {
				d.log.Error("short of disk space: publishes are refused", "free", free, "reserve", d.reserve)
			} else {
				d.log.Info("disk space is back", "free", free)
			}
		}
		if low && time.Since(yielded) >= handOverWait {
			yielded = time.Now()
			d.yield(ctx)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

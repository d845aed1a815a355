package cluster

import (
	"context"
	"errors"
	"math"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/raftlog"
	"github.com/aptlyd/aptlyd/internal/repeat"
)

const snapshotCheck = time.Second

// snapshotter has Raft take a snapshot whenever so much log has gathered. Raft
// itself counts entries only, and entries differ in size by a factor of
// thousands.
type snapshotter struct {
	cfg       Config
	raft      *raft.Raft
	logs      *raftlog.Store
	snapshots *snapshotStore
}

// run checks now and then until ctx ends.
func (s *snapshotter) run(ctx context.Context) {
	for range repeat.Every(ctx, snapshotCheck) {
		bytes, entries := s.logs.Written.Load(), s.entries()
		if entries == 0 || (bytes < s.cfg.SnapshotBytes && entries < s.cfg.SnapshotEntries) {
			continue
		}
		if err := s.take(ctx, bytes, entries); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Debug("no snapshot taken", "err", err)
		}
	}
}

// entries returns how far the log has grown since the last snapshot.
func (s *snapshotter) entries() uint64 {
	last := s.raft.LastIndex()
	record, _ := s.snapshots.newest()
	if last <= record.Meta.Index {
		return 0
	}
	return last - record.Meta.Index
}

// take takes a snapshot. Raft refuses while a configuration is being changed; the
// next check tries again. A storage error has stopped the node by itself.
func (s *snapshotter) take(ctx context.Context, bytes int64, entries uint64) error {
	reload := s.raft.ReloadableConfig()
	reload.TrailingLogs = trailing(s.cfg.TrailingBytes, bytes, entries)
	if err := s.raft.ReloadConfig(reload); err != nil {
		return err
	}
	if err := await(ctx, s.raft.Snapshot()); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return err
	}
	s.logs.Written.Add(-bytes)
	return nil
}

// trailing returns how many entries make up about so many bytes, by the size of the
// entries since the last snapshot.
func trailing(want, bytes int64, entries uint64) uint64 {
	const atLeast, atMost = 64, 1_000_000
	mean := max(bytes/int64(min(entries, math.MaxInt64)), 1)
	return uint64(min(max(want/mean, atLeast), atMost))
}

// logBytes is about how much log lies in sealed segments that a snapshot may
// free, for a start after many entries without one.
func logBytes(dir string, segment int) int64 {
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	sealed := int64(-2) // the segment in use, and the meta file
	for range files {
		sealed++
	}
	return max(sealed, 0) * int64(segment)
}

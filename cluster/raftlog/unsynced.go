package raftlog

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// unsynced are the entries that the log has taken and that are not on the disk yet.
// One goroutine writes them, all that wait at once.
type unsynced struct {
	limit int // bytes, beyond which no more is taken

	// oldest is the index of the first of them, none when there is none.
	oldest atomic.Uint64

	mu      sync.Mutex
	taken   sync.Cond   // there is something to write, or nothing will be written any more
	synced  sync.Cond   // some of them are on the disk, or never will be
	logs    []*raft.Log // consecutive
	bytes   int
	closing bool
	ended   error // nothing more reaches the disk
}

const none = math.MaxUint64 // above every index

func newUnsynced(limit int) *unsynced {
	u := &unsynced{limit: limit}
	u.taken.L, u.synced.L = &u.mu, &u.mu
	u.oldest.Store(none)
	return u
}

func size(logs []*raft.Log) (bytes int) {
	for _, log := range logs {
		bytes += len(log.Data) + logOverhead
	}
	return bytes
}

// take adds entries that follow the last one. It waits while there are too many.
func (u *unsynced) take(logs []*raft.Log) error {
	more := size(logs)
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.ended == nil && u.bytes > 0 && u.bytes+more > u.limit {
		u.synced.Wait()
	}
	if u.ended != nil {
		return u.ended
	}
	if len(u.logs) == 0 {
		u.oldest.Store(logs[0].Index)
	}
	u.logs = append(u.logs, logs...)
	u.bytes += more
	u.taken.Signal()
	return nil
}

// next returns all of them once there are any, nil once there will be no more.
func (u *unsynced) next() []*raft.Log {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.logs) == 0 && !u.closing {
		u.taken.Wait()
	}
	return slices.Clip(u.logs)
}

// landed takes out what next returned: it is on the disk.
func (u *unsynced) landed(logs []*raft.Log) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes -= size(logs)
	if u.logs = u.logs[len(logs):]; len(u.logs) > 0 {
		u.oldest.Store(u.logs[0].Index)
	} else {
		u.logs = nil
		u.oldest.Store(none)
	}
	u.synced.Broadcast()
}

// end says that nothing more will reach the disk.
func (u *unsynced) end(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended == nil {
		u.ended = err
	}
	u.synced.Broadcast()
}

// close has next return nil once everything is on the disk.
func (u *unsynced) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closing = true
	u.taken.Signal()
}

// await returns once none of them is at or below an index, or with the reason why they
// will not reach the disk.
func (u *unsynced) await(index uint64) error {
	if u.oldest.Load() > index {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.oldest.Load() <= index {
		if u.ended != nil {
			return u.ended
		}
		u.synced.Wait()
	}
	return nil
}

// awaitTaken awaits all that were taken before.
func (u *unsynced) awaitTaken() error {
	_, last := u.bounds()
	return u.await(last)
}

// get copies the entry at index, if it is one of them. Its data is shared.
func (u *unsynced) get(index uint64, log *raft.Log) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.logs) == 0 || index < u.logs[0].Index || index-u.logs[0].Index >= uint64(len(u.logs)) {
		return false
	}
	*log = *u.logs[index-u.logs[0].Index]
	return true
}

// bounds returns the first and the last index of them, zeros when there is none.
func (u *unsynced) bounds() (first, last uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.logs) == 0 {
		return 0, 0
	}
	return u.logs[0].Index, u.logs[len(u.logs)-1].Index
}

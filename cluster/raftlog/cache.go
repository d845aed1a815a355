package raftlog

import (
	"sync"

	"github.com/hashicorp/raft"
)

// tailCache holds the newest entries of the log, so that replicating and
// applying them reads no disk. It is bounded by bytes.
type tailCache struct {
	limit int // bytes

	mu    sync.RWMutex
	logs  []*raft.Log // consecutive
	bytes int
}

// logOverhead is roughly the memory of a cached entry besides its data.
const logOverhead = 128

// add appends entries that follow the last one; any others start the cache anew.
func (c *tailCache) add(logs []*raft.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, log := range logs {
		if n := len(c.logs); n > 0 && c.logs[n-1].Index+1 != log.Index {
			c.logs, c.bytes = nil, 0
		}
		c.logs = append(c.logs, log)
		c.bytes += len(log.Data) + logOverhead
	}
	drop := 0
	for c.bytes > c.limit && drop < len(c.logs) {
		c.bytes -= len(c.logs[drop].Data) + logOverhead
		c.logs[drop] = nil
		drop++
	}
	c.logs = c.logs[drop:]
}

// get copies the entry at index, if it is there. Its data is shared.
func (c *tailCache) get(index uint64, log *raft.Log) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.logs) == 0 || index < c.logs[0].Index || index-c.logs[0].Index >= uint64(len(c.logs)) {
		return false
	}
	*log = *c.logs[index-c.logs[0].Index]
	return true
}

// reset forgets everything.
func (c *tailCache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logs, c.bytes = nil, 0
}

package cluster

import (
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// configHistory knows which configuration held at which entry, so that a
// snapshot of a later state than Raft asked for carries the configuration that
// belongs to it.
type configHistory struct {
	mu      sync.Mutex
	configs []configAt // ascending
}

type configAt struct {
	index  uint64
	config raft.Configuration
}

// keptConfigs bounds the history. Between a snapshot and the durable state that
// is exported lie far fewer changes.
const keptConfigs = 256

// add notes a committed configuration; one known already is ignored.
func (h *configHistory) add(index uint64, config raft.Configuration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.configs); n > 0 && h.configs[n-1].index >= index {
		return
	}
	h.configs = append(h.configs, configAt{index, config})
	if drop := len(h.configs) - keptConfigs; drop > 0 {
		h.configs = slices.Delete(h.configs, 0, drop)
	}
}

// restart forgets everything but one configuration.
func (h *configHistory) restart(index uint64, config raft.Configuration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.configs = []configAt{{index, config}}
}

// at returns the configuration that held when the entry at index was applied.
func (h *configHistory) at(index uint64) (uint64, raft.Configuration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.configs) - 1; i >= 0; i-- {
		if h.configs[i].index <= index {
			return h.configs[i].index, h.configs[i].config.Clone(), true
		}
	}
	return 0, raft.Configuration{}, false
}

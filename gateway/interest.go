package gateway

import (
	"maps"
	"slices"
	"sync"

	"github.com/aptlyd/aptlyd/fsm"
)

// maxLoops bounds the loops by the bits of an interest's mask.
const maxLoops = 64

// interest knows which loops have subscribers of a channel, so that a commit
// wakes only those.
type interest struct {
	mu       sync.RWMutex
	channels map[fsm.ChannelKey]interested
}

type interested struct {
	loops uint64 // a bit per loop
	name  string // of the channel, whose bytes all loops share
}

// add notes that a loop has subscribers of a channel. It returns the key that the loop
// keeps, so that a node has each name once.
func (in *interest) add(key fsm.ChannelKey, loop int) fsm.ChannelKey {
	in.mu.Lock()
	defer in.mu.Unlock()
	entry, known := in.channels[key]
	if !known {
		entry.name = key.Name
	}
	key.Name = entry.name
	entry.loops |= 1 << loop
	in.channels[key] = entry
	return key
}

// remove reports whether no loop has subscribers of the channel any more.
func (in *interest) remove(key fsm.ChannelKey, loop int) (last bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	entry := in.channels[key]
	if entry.loops &^= 1 << loop; entry.loops == 0 {
		delete(in.channels, key)
		return true
	}
	key.Name = entry.name
	in.channels[key] = entry
	return false
}

// trim gives back the room that many channels took.
func (in *interest) trim() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.channels = maps.Clone(in.channels)
}

func (in *interest) has(key fsm.ChannelKey) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.channels[key].loops != 0
}

func (in *interest) list() []fsm.ChannelKey {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return slices.AppendSeq(make([]fsm.ChannelKey, 0, len(in.channels)), maps.Keys(in.channels))
}

// sort appends to perLoop[i] the commits that loop i has subscribers for.
func (in *interest) sort(commits []commit, perLoop [][]commit) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, c := range commits {
		mask := in.channels[c.channel].loops
		for i := 0; mask != 0; i, mask = i+1, mask>>1 {
			if mask&1 != 0 {
				perLoop[i] = append(perLoop[i], c)
			}
		}
	}
}

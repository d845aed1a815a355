package gateway

import (
	"maps"
	"slices"
	"sync"

	"github.com/aptlyd/aptlyd/fsm"
)

// maxLoops is how many loops fit in an interest's mask.
const maxLoops = 64

// interest knows which loops have subscribers of a channel, so that a commit
// wakes only those.
type interest struct {
	mu    sync.RWMutex
	loops map[fsm.ChannelKey]uint64 // a bit per loop
}

func (in *interest) add(key fsm.ChannelKey, loop int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.loops[key] |= 1 << loop
}

// remove reports whether no loop has subscribers of the channel any more.
func (in *interest) remove(key fsm.ChannelKey, loop int) (last bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.loops[key] &^= 1 << loop; in.loops[key] != 0 {
		return false
	}
	delete(in.loops, key)
	return true
}

// trim gives back what many channels made the map grow to.
func (in *interest) trim() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.loops = maps.Clone(in.loops)
}

func (in *interest) has(key fsm.ChannelKey) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.loops[key] != 0
}

func (in *interest) channels() []fsm.ChannelKey {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return slices.AppendSeq(make([]fsm.ChannelKey, 0, len(in.loops)), maps.Keys(in.loops))
}

// sort appends to perLoop[i] the commits that loop i has subscribers for.
func (in *interest) sort(commits []commit, perLoop [][]commit) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, c := range commits {
		mask := in.loops[c.channel]
		for i := 0; mask != 0; i, mask = i+1, mask>>1 {
			if mask&1 != 0 {
				perLoop[i] = append(perLoop[i], c)
			}
		}
	}
}

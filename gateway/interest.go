package gateway

import (
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

func (in *interest) remove(key fsm.ChannelKey, loop int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.loops[key] &^= 1 << loop; in.loops[key] == 0 {
		delete(in.loops, key)
	}
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

package gateway

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	"github.com/aptlyd/aptlyd/fsm"
)

// maxLoops bounds the loops by the bits of an interest's mask.
const maxLoops = 64

// interest knows which loops have subscribers of a channel, so that a commit wakes only
// those. It is kept in parts, so that nobody waits long for a walk over it.
type interest struct {
	seed  maphash.Seed
	parts [interestParts]interestPart
}

const interestParts = 64

type interestPart struct {
	mu       sync.RWMutex
	channels map[fsm.ChannelKey]interested
}

type interested struct {
	loops uint64 // a bit per loop
	name  string // of the channel, whose bytes all loops share
}

func newInterest() *interest {
	in := &interest{seed: maphash.MakeSeed()}
	for i := range in.parts {
		in.parts[i].channels = make(map[fsm.ChannelKey]interested)
	}
	return in
}

func (in *interest) part(key fsm.ChannelKey) *interestPart {
	return &in.parts[maphash.String(in.seed, key.Name)%interestParts]
}

// add notes that a loop has subscribers of a channel. It returns the key that the loop
// keeps, so that a node has each name once.
func (in *interest) add(key fsm.ChannelKey, loop int) fsm.ChannelKey {
	part := in.part(key)
	part.mu.Lock()
	defer part.mu.Unlock()
	entry, known := part.channels[key]
	if !known {
		entry.name = key.Name
	}
	key.Name = entry.name
	entry.loops |= 1 << loop
	part.channels[key] = entry
	return key
}

// remove reports whether no loop has subscribers of the channel any more.
func (in *interest) remove(key fsm.ChannelKey, loop int) (last bool) {
	part := in.part(key)
	part.mu.Lock()
	defer part.mu.Unlock()
	entry := part.channels[key]
	if entry.loops &^= 1 << loop; entry.loops == 0 {
		delete(part.channels, key)
		return true
	}
	key.Name = entry.name
	part.channels[key] = entry
	return false
}

// trim gives back the room that many channels took.
func (in *interest) trim() {
	for i := range in.parts {
		in.parts[i].trim()
	}
}

func (part *interestPart) trim() {
	part.mu.Lock()
	defer part.mu.Unlock()
	part.channels = maps.Clone(part.channels)
}

func (in *interest) has(key fsm.ChannelKey) bool { return in.loops(key) != 0 }

// loops returns a bit for each loop that has subscribers of the channel.
func (in *interest) loops(key fsm.ChannelKey) uint64 {
	part := in.part(key)
	part.mu.RLock()
	defer part.mu.RUnlock()
	return part.channels[key].loops
}

// list returns the channels that have subscribers. One that comes or goes meanwhile may be
// among them or not.
func (in *interest) list() (all []fsm.ChannelKey) {
	for i := range in.parts {
		all = in.parts[i].appendTo(all)
	}
	return all
}

func (part *interestPart) appendTo(all []fsm.ChannelKey) []fsm.ChannelKey {
	part.mu.RLock()
	defer part.mu.RUnlock()
	return slices.AppendSeq(all, maps.Keys(part.channels))
}

// sort appends to perLoop[i] the commits that loop i has subscribers for.
func (in *interest) sort(commits []commit, perLoop [][]commit) {
	for _, c := range commits {
		mask := in.loops(c.channel)
		for i := 0; mask != 0; i, mask = i+1, mask>>1 {
			if mask&1 != 0 {
				perLoop[i] = append(perLoop[i], c)
			}
		}
	}
}

//go:build !planted

package fsm

// What the tag "planted" breaks, for test/torture to find. Here nothing is.
const (
	plantedNoDedup    = false
	plantedNoChecksum = false
	plantedNoSwap     = false
)

func plantEntry(before, term uint64) {}

func plantedDrop() bool { return false }

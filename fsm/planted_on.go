//go:build planted

package fsm

import "os"

var bug = os.Getenv("APTLYD_PLANTED")

var (
	// plantedNoDedup: a repeated message id is a new message.
	plantedNoDedup = bug == "no-dedup"
	// plantedNoChecksum: damaged records are taken as they are.
	plantedNoChecksum = bug == "no-checksum"
	// plantedNoSwap: a snapshot is received, verified and forgotten.
	plantedNoSwap = bug == "restore-without-swap"
	// plantedLostBatch: what the forwarders send again at a change of leader is
	// answered and not kept.
	plantedLostBatch = bug == "batch-lost-at-leader-change"
)

// The first entry with publishes in a new term is the one to lose.
var termIsNew, lost bool

func plantEntry(before, term uint64) {
	if lost {
		termIsNew, lost = false, false
	}
	if term != before {
		termIsNew = true
	}
}

func plantedDrop() bool {
	lost = plantedLostBatch && termIsNew
	return lost
}

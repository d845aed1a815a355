//go:build planted

package gateway

import "os"

var (
	// plantedReplaySkip is how many messages each page of a replay begins late.
	plantedReplaySkip uint64
	// plantedKeepsRevoked: live connections outlive their key.
	plantedKeepsRevoked = os.Getenv("APTLYD_PLANTED") == "revocation-missed"
)

func init() {
	if os.Getenv("APTLYD_PLANTED") == "replay-off-by-one" {
		plantedReplaySkip = 1
	}
}

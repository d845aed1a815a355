//go:build !planted

package gateway

// What the tag "planted" breaks, for test/torture to find. Here nothing is.
const (
	plantedReplaySkip   = 0
	plantedKeepsRevoked = false
)

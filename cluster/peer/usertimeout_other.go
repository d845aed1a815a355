//go:build !linux && !darwin

package peer

import "time"

// setUserTimeout does nothing: these systems have no such bound for one connection. Probes
// and the deadlines of calls find a dead peer, later.
func setUserTimeout(int, time.Duration) error { return nil }

// Package boottime tells the time since the machine started, sleep included.
package boottime

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// SinceStart is the time since the machine started, sleep included: a machine that
// slept must not take itself for fresh.
func SinceStart() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(bootClock, &now); err != nil {
		panic(fmt.Sprintf("read the clock of the time since the start: %v", err))
	}
	return time.Duration(now.Nano())
}

//go:build !linux

package boottime

import "golang.org/x/sys/unix"

// bootClock counts the sleep of a machine on macOS. Before version 15, FreeBSD has no clock
// that does.
const bootClock = unix.CLOCK_MONOTONIC

package boottime

import "golang.org/x/sys/unix"

// bootClock counts the sleep of a machine, which CLOCK_MONOTONIC of Linux does not.
const bootClock = unix.CLOCK_BOOTTIME

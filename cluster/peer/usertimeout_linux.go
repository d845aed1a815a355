package peer

import (
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout makes the kernel close a connection whose bytes stay unacknowledged for so
// long.
func setUserTimeout(fd int, d time.Duration) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}

package peer

import (
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout makes the kernel close a connection whose bytes stay unacknowledged for so
// long. It counts whole seconds.
func setUserTimeout(fd int, d time.Duration) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RXT_CONNDROPTIME, int(d.Seconds()))
}

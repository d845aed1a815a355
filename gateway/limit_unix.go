//go:build unix

package gateway

import "golang.org/x/sys/unix"

// descriptorLimit is how many files and sockets the process may have open.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<20 {
		return 1 << 20
	}
	return int(limit.Cur)
}

//go:build unix

package machine

import "golang.org/x/sys/unix"

// DescriptorLimit returns how many files and sockets the process may have open.
func DescriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<20 {
		return 1 << 20
	}
	return int(limit.Cur)
}

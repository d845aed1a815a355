//go:build unix

package gateway

import "golang.org/x/sys/unix"

// connectionLimit is how many clients the process may hold.
func connectionLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<20 {
		return 1 << 20
	}
	return max(int(limit.Cur)-spareDescriptors, 64)
}

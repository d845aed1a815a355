package machine

import "golang.org/x/sys/unix"

// installedMemory returns the bytes of memory of the machine, 0 when that is not known.
func installedMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram * uint64(info.Unit))
}

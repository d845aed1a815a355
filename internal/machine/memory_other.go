//go:build !linux

package machine

// installedMemory returns the bytes of memory of the machine, 0 when that is not known.
func installedMemory() int64 { return 0 }

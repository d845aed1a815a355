//go:build !unix

package machine

// DescriptorLimit returns how many files and sockets the process may have open.
func DescriptorLimit() int { return 1 << 14 }

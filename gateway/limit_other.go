//go:build !unix

package gateway

// descriptorLimit is how many files and sockets the process may have open.
func descriptorLimit() int { return 1 << 14 }

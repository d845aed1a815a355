//go:build !unix

package gateway

// connectionLimit is how many clients the process may hold.
func connectionLimit() int { return 1 << 14 }

package durable

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// FreeBytes returns the bytes that we may still write to the file system of a folder.
func FreeBytes(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("look at free disk space: %w", err)
	}
	// On FreeBSD the number is signed, and below zero where only root may write.
	free := uint64(max(stat.Bavail, 0)) //nolint:unconvert // FreeBSD has another type
	return free * uint64(stat.Bsize), nil
}

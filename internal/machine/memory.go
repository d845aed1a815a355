// Package machine tells what the machine and its limits let the process use.
package machine

import (
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// defaultMemory stands for the memory of a machine that cannot be asked for it.
const defaultMemory = 4 << 30

// MemoryLimit returns how many bytes the process may use. It is the least of what the
// machine has, its control groups allow and GOMEMLIMIT asks for.
func MemoryLimit() int64 {
	limit := int64(defaultMemory)
	if installed := installedMemory(); installed > 0 {
		limit = installed
	}
	if asked := debug.SetMemoryLimit(-1); asked > 0 {
		limit = min(limit, asked)
	}
	groups, _ := os.ReadFile("/proc/self/cgroup") // only Linux has it
	return min(limit, groupMemory("/sys/fs/cgroup", string(groups)))
}

// groupMemory returns the least limit of the control groups, which /proc/self/cgroup
// lists, and of those above them.
func groupMemory(root, groups string) int64 {
	limit := int64(math.MaxInt64)
	read := func(name string) {
		text, err := os.ReadFile(name)
		if err != nil {
			return
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // else it is "max"
			limit = min(limit, n)
		}
	}
	for line := range strings.Lines(groups) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		dir, file := root, "memory.max"
		switch controllers {
		case "":
		case "memory": // version 1
			dir, file = path.Join(root, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		// A container may see its own group as the root.
		for group = path.Join("/", group); ; group = path.Dir(group) {
			read(path.Join(dir, group, file))
			if group == "/" {
				break
			}
		}
	}
	return limit
}

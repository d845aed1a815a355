//go:build !linux

package bench

import "syscall"

// processAttributes keeps a Ctrl-C, which is meant for this program, from the
// nodes.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

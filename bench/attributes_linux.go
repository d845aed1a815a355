package bench

import "syscall"

// processAttributes keeps a Ctrl-C, which is meant for this program, from the
// nodes, and ends them when this program is killed.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

package main

import (
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// endPanicsBySignal makes a panic, or a fatal runtime error, end the process by SIGABRT.
// Go's exit code for it is 2, which tells the operator to change something and keeps
// supervisors from restarting. No core is dumped, because it would hold every secret of the
// node.
func endPanicsBySignal() error {
	debug.SetTraceback("crash")
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

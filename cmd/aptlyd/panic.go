package main

import (
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// endPanicsBySignal makes a panic, or a fatal error of the runtime, end the process
// by SIGABRT. Go's own exit code for it is 2, which says that the operator has to change
// something and keeps a supervisor from starting the node again. No core is dumped:
// it would hold every secret of the node.
func endPanicsBySignal() error {
	debug.SetTraceback("crash")
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

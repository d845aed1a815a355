package fsm

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// guarded runs code that reads or writes a state file. bbolt answers a damaged page with a
// panic, and the kernel answers an unreadable page of the mapped file with a fault. Both
// return as errors; any other panic continues.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			if !ofStorage(cause) {
				panic(cause)
			}
			err = fmt.Errorf("read a page: %w: %v", errCorrupt, cause)
		}
	}()
	return fn()
}

// beginRead begins a transaction that reads.
func beginRead(db *bolt.DB) (tx *bolt.Tx, err error) {
	err = guarded(func() (err error) {
		tx, err = db.Begin(false)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("begin read: %w", err)
	}
	return tx, nil
}

// ofStorage reports whether a panic, just recovered, is a fault on mapped memory or came
// from bbolt.
func ofStorage(cause any) bool {
	if _, fault := cause.(interface{ Addr() uintptr }); fault {
		return true
	}
	var callers [64]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return strings.HasPrefix(frame.Function, "go.etcd.io/bbolt")
		}
		if !more {
			return false
		}
	}
}

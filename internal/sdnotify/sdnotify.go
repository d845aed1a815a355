// Package sdnotify tells systemd how the service is, as sd_notify(3) says. It knows nothing of what
// the service does.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// The states that are told.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Watchdog = "WATCHDOG=1" // a sign of life
)

// Status returns the state that says in a line what the service is doing.
func Status(text string) string { return "STATUS=" + text }

// Notify tells states to the supervisor. Without one that listens it does nothing.
func Notify(states ...string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	// A path that begins with @ is of the abstract name space, as package net takes it.
	socket, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		return fmt.Errorf("notify the supervisor: %w", err)
	}
	defer socket.Close()
	if _, err := socket.Write([]byte(strings.Join(states, "\n"))); err != nil {
		return fmt.Errorf("notify the supervisor: %w", err)
	}
	return nil
}

// WatchdogTimeout returns after how long without a sign of life this process is ended; 0 for
// never.
func WatchdogTimeout() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0 // meant for another process
	}
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

package peer

import (
	"net"
	"slices"
	"sync"
)

// maxPendingConns bounds the connections of a port that have proved nothing yet.
const maxPendingConns = 64

// PendingConns holds accepted connections until their other end has proved itself. The
// oldest one makes room for the next. A node needs only a moment, so many silent
// connections do not keep it out.
type PendingConns struct {
	mu      sync.Mutex
	waiting []net.Conn // oldest first
	closed  bool
}

// Enter adds a connection, or closes it after Close.
func (l *PendingConns) Enter(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		conn.Close()
		return
	}
	if len(l.waiting) == maxPendingConns {
		l.waiting[0].Close()
		l.waiting = slices.Delete(l.waiting, 0, 1)
	}
	l.waiting = append(l.waiting, conn)
}

// Leave removes a connection. It may have been closed by now.
func (l *PendingConns) Leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, conn); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
}

// Close closes all connections, and those that enter later.
func (l *PendingConns) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, conn := range l.waiting {
		conn.Close()
	}
	l.waiting = nil
}

package peer

import (
	"net"
	"slices"
	"sync"
)

// maxPendingConns is how many connections a port keeps that have proved nothing yet.
const maxPendingConns = 64

// PendingConns is where accepted connections are until their other end has proved what
// it has to. The oldest one makes room for the next, so that unauthenticated ones that come
// in numbers and say nothing do not keep out a node, which is through in a moment.
type PendingConns struct {
	mu      sync.Mutex
	waiting []net.Conn // oldest first
	closed  bool
}

// Enter takes a connection in, which is closed if the pending connections is.
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

// Leave lets a connection go, which may have been closed by now.
func (l *PendingConns) Leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, conn); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
}

// Close closes whoever is there, and whoever comes.
func (l *PendingConns) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, conn := range l.waiting {
		conn.Close()
	}
	l.waiting = nil
}

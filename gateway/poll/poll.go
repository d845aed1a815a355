// Package poll tells event loops what happens on their sockets: with epoll on bare
// descriptors, or with two goroutines for each net.Conn. It knows neither WebSocket nor
// the gateway. A loop gives it one function that wakes it and one that runs a task on it.
package poll

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"
)

// MaxRead is the most that an owner receives at once.
const MaxRead = 64 << 10

// Options say what a poller needs of its loop.
type Options struct {
	Wake       func()                 // has the loop turn soon
	Post       func(task func()) bool // has the loop run a task; false when it has ended
	ReadAtMost int                    // bytes that a new connection is given at once
	CloseGrace time.Duration          // for what was written to leave once a connection is closed
}

// Owner is told what happens on a socket, on its loop.
type Owner interface {
	Received(p []byte) // p may be changed and is not kept
	Writable()
	Gone() // the other end has hung up, or the socket is broken
}

// Transport is a socket as its event loop sees it. Only the loop calls it, and nothing in
// it waits. Its owner is told on the loop what happens on the socket.
type Transport interface {
	// Write takes as much of p as there is room for. When that is less than all,
	// Writable follows as soon as there is room again. p is not kept.
	Write(p []byte) (int, error)
	// Acknowledged returns how many bytes the other end has taken so far, if that is
	// known. It moves before there is room again.
	Acknowledged() (n uint64, ok bool)
	// Pause stops calls of Received until Resume.
	Pause()
	Resume()
	// ReadAtMost bounds how many bytes the owner is given at once.
	ReadAtMost(n int)
	// CloseWrite tells the other end, behind everything taken by Write, that nothing
	// follows. What it sends is received as before.
	CloseWrite()
	// Close ends the connection once everything taken by Write is on its way.
	// Neither Close nor Reset is followed by any call.
	Close()
	// Reset drops what is on its way and ends the connection now.
	Reset()
}

// Poller gives one event loop its sockets. Only the loop calls it.
type Poller interface {
	// Attach takes a connection over. The socket is the poller's also when there is an
	// error.
	Attach(owner Owner, socket net.Conn) (Transport, error)
	// Poll delivers what has happened since the last call. The loop calls it once a turn.
	Poll()
	// Trim gives back what many connections made the poller grow to.
	Trim()
	// Close ends the poller once the loop and all connections have ended.
	Close()
}

// Acceptor is a Poller that accepts connections itself, as bare descriptors.
type Acceptor interface {
	Poller
	// Listen watches a listener, before the loop runs. Its connections inherit the size
	// of the send buffer. Poll calls ready while connections wait.
	Listen(l *net.TCPListener, sendBuffer int, ready func()) (Listener, error)
	// Adopt watches an accepted connection. The connection is the poller's also when
	// there is an error.
	Adopt(a Accepted, owner Owner) (Socket, error)
}

// Listener accepts connections without waiting for them.
type Listener interface {
	// Accept returns the next connection, ErrNoneWaits or ErrDescriptors.
	Accept() (Accepted, error)
	// Refuse sends a short answer, if there is room for it, and closes a connection.
	Refuse(a Accepted, answer []byte)
	// Pause leaves connections in the kernel's backlog until Resume.
	Pause()
	Resume()
}

// Accepted is a connection that no loop has yet.
type Accepted struct {
	From netip.Addr
	fd   int
}

// Socket is the transport of an accepted connection.
type Socket interface {
	Transport
	// Read gives the owner what has come already.
	Read()
	// HandTo has another owner told from now on.
	HandTo(owner Owner)
	// Release takes the socket away from the poller, whether or not it can be made a
	// net.Conn.
	Release() (net.Conn, error)
	// FD returns the descriptor, for options of the socket.
	FD() int
}

// Accept returns these errors.
var (
	ErrNoneWaits   = errors.New("no connection waits")
	ErrDescriptors = errors.New("no descriptor is left")
)

// New makes a poller by its name.
func New(name string, o Options) (Poller, error) {
	make, known := pollers[name]
	if !known {
		return nil, fmt.Errorf("poller %q is not known here", name)
	}
	return make(o)
}

// Known reports whether this platform has a poller of that name.
func Known(name string) bool { return pollers[name] != nil }

// Names returns the pollers that this platform has.
func Names() []string { return slices.Sorted(maps.Keys(pollers)) }

// TCP returns the TCP connection that a socket is or is laid upon.
func TCP(socket net.Conn) (*net.TCPConn, bool) {
	for {
		if tcp, ok := socket.(*net.TCPConn); ok {
			return tcp, true
		}
		laid, ok := socket.(interface{ NetConn() net.Conn })
		if !ok {
			return nil, false
		}
		socket = laid.NetConn()
	}
}

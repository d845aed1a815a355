package gateway

import "net"

// maxReadBytes is the most that a connection is given at once.
const maxReadBytes = 64 << 10

// transport is one client's socket as its event loop sees it. Only the loop
// calls it, and nothing in it waits. What happens on the socket comes back as
// calls of the connection's received, writable and gone, on the loop.
type transport interface {
	// Write takes as much of p as there is room for. When that is less than
	// all, writable follows as soon as there is room again. p is not kept.
	Write(p []byte) (int, error)
	// Acknowledged returns how many bytes the other end has taken so far, if that
	// can be told. It moves before there is room again.
	Acknowledged() (n uint64, ok bool)
	// Pause stops calls of received until Resume.
	Pause()
	Resume()
	// ReadAtMost bounds how many bytes received is given at once.
	ReadAtMost(n int)
	// CloseWrite tells the other end, behind everything taken by Write, that nothing
	// follows. What it sends is received as before.
	CloseWrite()
	// Close ends the connection once everything taken by Write is on its way.
	// Neither it nor Reset is followed by any call.
	Close()
	// Reset drops what is on its way and ends the connection now.
	Reset()
}

// poller gives one event loop its sockets.
type poller interface {
	// attach takes a connection over. It is called on the loop; from then on the
	// socket is the poller's also when there is an error.
	attach(c *conn, socket net.Conn) (transport, error)
	// poll delivers what has happened since it was last called. It is called on
	// the loop, once a turn.
	poll()
	// trim gives back what many connections made the poller grow to. It is called
	// on the loop.
	trim()
	// close ends the poller once the loop has ended and all connections with it.
	close()
}

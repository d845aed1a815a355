package httpio

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/aptlyd/aptlyd/gateway/websocket"
)

// StrictListener has net/http read only requests that are well formed, wherever they come
// on a connection and whether they come encrypted. Its connections may be of TLS.
type StrictListener struct {
	net.Listener
	// MaxHead bounds the head of a request. One that is a little larger than net/http
	// takes is left to it.
	MaxHead          int
	HandshakeTimeout time.Duration // of TLS, and then again of the first request
	// Malformed is told of a request that is refused.
	Malformed func(net.Conn, *websocket.HandshakeError)
	// Failed is told of a TLS handshake that came to nothing.
	Failed func(net.Conn, error)
}

// Accept implements net.Listener.
func (l *StrictListener) Accept() (net.Conn, error) {
	socket, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &strictConn{Conn: socket, listener: l, checker: websocket.NewRequestChecker(l.MaxHead)}, nil
}

// Hijacked returns the connection below one that was taken from net/http: what follows is
// no request.
func Hijacked(socket net.Conn) net.Conn {
	if c, ok := socket.(*strictConn); ok {
		return c.Conn
	}
	return socket
}

type strictConn struct {
	net.Conn
	listener *StrictListener
	checker  *websocket.RequestChecker
	begun    bool
	ended    bool   // by a malformed request
	instead  []byte // what net/http reads then
}

// Read implements net.Conn.
func (c *strictConn) Read(p []byte) (int, error) {
	if !c.begun {
		c.begun = true
		if err := c.handshake(); err != nil {
			return 0, err
		}
	}
	if c.ended {
		n := copy(p, c.instead)
		if c.instead = c.instead[n:]; n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	good, malformed := c.checker.Check(p[:n])
	if malformed == nil {
		return n, err
	}
	// Whatever net/http reads now, a NUL has it answer 400 in its turn and close.
	c.ended, c.instead = true, []byte("\x00\r\n\r\n")
	c.listener.Malformed(c, malformed)
	if good == 0 {
		return c.Read(p)
	}
	return good, nil
}

// handshake begins TLS. net/http does so by itself only for a *tls.Conn. A client that
// speaks plain HTTP is told.
func (c *strictConn) handshake() error {
	encrypted, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	err := encrypted.Handshake()
	if err == nil {
		return c.SetReadDeadline(time.Now().Add(c.listener.HandshakeTimeout))
	}
	if wrong, ok := errors.AsType[tls.RecordHeaderError](err); ok && wrong.Conn != nil &&
		beginsRequest(wrong.RecordHeader) {
		// It is closed whether it takes that or not.
		_, _ = io.WriteString(wrong.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nthis port speaks HTTPS\n")
	}
	c.listener.Failed(c, err)
	return io.EOF
}

// beginsRequest reports whether what should be the header of a TLS record begins a request
// of plain HTTP.
func beginsRequest(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO":
		return true
	}
	return false
}

// CloseWrite lets net/http end a connection so that its last answer is read.
func (c *strictConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below.
func (c *strictConn) NetConn() net.Conn { return c.Conn }

package admin

import (
	"net"
	"net/http"
	"sync/atomic"
)

// maxSockets bounds the sockets of the operators' own port.
const maxSockets = 256

// Listener is the operators' own port. It has its own bound of sockets, so that clients on
// the other port cannot use it up.
type Listener struct {
	net.Listener
	open atomic.Int64
}

// NewListener returns a listener that takes at most maxSockets from another one.
func NewListener(l net.Listener) *Listener { return &Listener{Listener: l} }

// Accept implements net.Listener. A socket too many is closed at once.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		socket, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxSockets {
			return socket, nil
		}
		l.open.Add(-1)
		_ = socket.Close()
	}
}

// ConnState counts the sockets that end; it is for http.Server.ConnState.
func (l *Listener) ConnState(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		l.open.Add(-1)
	}
}

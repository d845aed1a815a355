package gateway

import (
	"net"
	"sync"
)

// handoff is the net.Listener through which net/http gets its guests.
type handoffListener struct {
	addr  net.Addr
	queue chan net.Conn
	done  chan struct{}

	mu     sync.Mutex
	closed bool
}

// handoffQueue is how many guests may wait for net/http, which does nothing with
// one but start a goroutine.
const handoffQueue = 1024

func newHandoffListener(addr net.Addr) *handoffListener {
	return &handoffListener{addr: addr, queue: make(chan net.Conn, handoffQueue), done: make(chan struct{})}
}

// hand hands a guest over. It reports false, and leaves the guest to the
// caller, when too many wait or the lobby is closed.
func (l *handoffListener) hand(g *httpConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	select {
	case l.queue <- g:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener.
func (l *handoffListener) Accept() (net.Conn, error) {
	select {
	case socket := <-l.queue:
		return socket, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Guests that wait are closed.
func (l *handoffListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case socket := <-l.queue:
			_ = socket.Close()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (l *handoffListener) Addr() net.Addr { return l.addr }

package gateway

import (
	"net"
	"slices"
	"sync"
	"time"
)

const (
	portableReadBytes  = 4 << 10
	portableWriteBytes = 64 << 10 // taken from the loop and not yet written
	portableChunkBytes = 16 << 10 // of one write, so that a crawling client counts as moving
)

// portablePoller serves any net.Conn with two goroutines for each. It is the
// reference that the other pollers are tested against.
type portablePoller struct {
	loop    *loop
	done    sync.WaitGroup
	arrived []arrival // since poll was last called
}

// arrival is what one connection has read.
type arrival struct {
	conn  *portableConn
	bytes []byte
}

func newPortablePoller(l *loop) (poller, error) { return &portablePoller{loop: l}, nil }

func (p *portablePoller) attach(c *conn, socket net.Conn) (transport, error) {
	t := &portableConn{
		poller: p,
		conn:   c,
		socket: socket,
		grace:  p.loop.server.cfg.CloseGrace,
		kick:   make(chan struct{}, 1),
		read:   make(chan struct{}, 1),
		end:    make(chan struct{}),
	}
	p.done.Go(t.readLoop)
	p.done.Go(t.writeLoop)
	return t, nil
}

func (p *portablePoller) poll() {
	for i, a := range p.arrived {
		a.conn.took(a.bytes)
		p.arrived[i] = arrival{}
	}
	p.arrived = p.arrived[:0]
}

func (p *portablePoller) trim() { p.arrived = slices.Clone(p.arrived) }

func (p *portablePoller) close() { p.done.Wait() }

// portableConn is a socket with a goroutine that reads and one that writes.
type portableConn struct {
	poller *portablePoller
	conn   *conn
	socket net.Conn
	grace  time.Duration
	kick   chan struct{} // something for the writer to look at
	read   chan struct{} // the loop has taken the last bytes
	end    chan struct{} // closed when nothing is to be delivered any more
	ended  bool          // loop only
	paused bool          // loop only
	owed   bool          // loop only: a read token is due at Resume

	mu      sync.Mutex
	out     []byte // taken and not yet with the writer
	writing int    // with the writer
	refused bool   // the loop waits for room
	half    bool   // end the writing half once out is written
	closing bool   // close once out is written
}

func (t *portableConn) Write(p []byte) (int, error) {
	t.mu.Lock()
	n := min(len(p), portableWriteBytes-len(t.out)-t.writing)
	t.out = append(t.out, p[:n]...)
	t.refused = n < len(p)
	t.mu.Unlock()
	t.wakeWriter()
	return n, nil
}

func (t *portableConn) wakeWriter() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

func (t *portableConn) Acknowledged() (n uint64, ok bool) {
	tcp, ok := tcpOf(t.socket)
	if !ok {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil || raw.Control(func(fd uintptr) { n, ok = acknowledged(int(fd)) }) != nil {
		return 0, false
	}
	return n, ok
}

// ReadAtMost has nothing to do: readLoop's buffer is smaller than any bound.
func (t *portableConn) ReadAtMost(int) {}

func (t *portableConn) Pause() { t.paused = true }

func (t *portableConn) Resume() {
	t.paused = false
	if t.owed {
		t.owed = false
		t.read <- struct{}{}
	}
}

func (t *portableConn) CloseWrite() {
	t.mu.Lock()
	t.half = true
	t.mu.Unlock()
	t.wakeWriter()
}

func (t *portableConn) Close() {
	if t.ended {
		return
	}
	t.ended = true
	close(t.end)
	// The writer ends the connection: at the latest when the grace is over.
	_ = t.socket.SetWriteDeadline(time.Now().Add(t.grace))
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.wakeWriter()
}

func (t *portableConn) Reset() {
	if t.ended {
		return
	}
	t.ended = true
	close(t.end)
	if tcp, ok := tcpOf(t.socket); ok {
		_ = tcp.SetLinger(0)
		_ = tcp.Close() // past TLS, which would wait to say goodbye
	} else {
		_ = t.socket.Close()
	}
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.wakeWriter()
}

// readLoop hands over what it reads piece by piece; the loop takes one before
// the next is read.
func (t *portableConn) readLoop() {
	buf := make([]byte, portableReadBytes)
	mail := t.conn.loop.mail
	for {
		n, err := t.socket.Read(buf)
		if n > 0 {
			mail.post(func() { t.poller.arrived = append(t.poller.arrived, arrival{t, buf[:n]}) })
			select {
			case <-t.read:
			case <-t.end:
				return
			}
		}
		if err != nil {
			mail.post(func() {
				if !t.ended {
					t.conn.gone()
				}
			})
			return
		}
	}
}

func (t *portableConn) took(p []byte) {
	if t.ended {
		return
	}
	t.conn.received(p)
	if t.paused {
		t.owed = true
	} else {
		t.read <- struct{}{}
	}
}

func (t *portableConn) writeLoop() {
	var spare []byte
	for {
		t.mu.Lock()
		chunk, closing, half := t.out, t.closing, t.half
		if len(chunk) > 0 {
			t.out, t.writing = spare[:0], len(chunk)
		} else {
			t.half = false
		}
		t.mu.Unlock()
		if len(chunk) == 0 {
			if closing {
				_ = t.socket.Close()
				return
			}
			if socket, ok := t.socket.(interface{ CloseWrite() error }); ok && half {
				_ = socket.CloseWrite() // one that has ended otherwise says so by itself
			}
			<-t.kick
			continue
		}
		spare = chunk
		for len(chunk) > 0 {
			n, err := t.socket.Write(chunk[:min(len(chunk), portableChunkBytes)])
			if err != nil {
				t.failed()
				return
			}
			chunk = chunk[n:]
			t.wrote(len(chunk))
		}
	}
}

// wrote tells the loop of the room there is, if it waits for it.
func (t *portableConn) wrote(left int) {
	t.mu.Lock()
	t.writing = left
	tell := t.refused
	t.refused = false
	t.mu.Unlock()
	if tell {
		t.conn.loop.mail.post(func() {
			if !t.ended {
				t.conn.writable()
			}
		})
	}
}

func (t *portableConn) failed() {
	_ = t.socket.Close()
	t.conn.loop.mail.post(func() {
		if !t.ended {
			t.conn.gone()
		}
	})
}

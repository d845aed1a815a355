package poll

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

// portablePoller serves any net.Conn with two goroutines for each. The other pollers are
// tested against it.
type portablePoller struct {
	options Options
	done    sync.WaitGroup
	arrived []arrival // since poll was last called
}

// arrival holds the bytes that one connection has read.
type arrival struct {
	conn  *portableConn
	bytes []byte
}

func newPortablePoller(o Options) (Poller, error) { return &portablePoller{options: o}, nil }

// Attach implements Poller.
func (p *portablePoller) Attach(owner Owner, socket net.Conn) (Transport, error) {
	t := &portableConn{
		poller: p,
		owner:  owner,
		socket: socket,
		kick:   make(chan struct{}, 1),
		read:   make(chan struct{}, 1),
		end:    make(chan struct{}),
	}
	p.done.Go(t.readLoop)
	p.done.Go(t.writeLoop)
	return t, nil
}

// Poll implements Poller.
func (p *portablePoller) Poll() {
	for i, a := range p.arrived {
		a.conn.took(a.bytes)
		p.arrived[i] = arrival{}
	}
	p.arrived = p.arrived[:0]
}

// Trim implements Poller.
func (p *portablePoller) Trim() { p.arrived = slices.Clone(p.arrived) }

// Close implements Poller.
func (p *portablePoller) Close() { p.done.Wait() }

// portableConn is a socket with a goroutine that reads and one that writes.
type portableConn struct {
	poller *portablePoller
	owner  Owner
	socket net.Conn
	kick   chan struct{} // something for the writer to look at
	read   chan struct{} // the loop has taken the last bytes
	end    chan struct{} // closed when nothing must be delivered any more
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

// Write implements Transport.
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

// Acknowledged implements Transport.
func (t *portableConn) Acknowledged() (n uint64, ok bool) {
	tcp, ok := TCP(t.socket)
	if !ok {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil || raw.Control(func(fd uintptr) { n, ok = acknowledged(int(fd)) }) != nil {
		return 0, false
	}
	return n, ok
}

// ReadAtMost implements Transport. The buffer of readLoop is smaller than any bound.
func (t *portableConn) ReadAtMost(int) {}

// Pause implements Transport.
func (t *portableConn) Pause() { t.paused = true }

// Resume implements Transport.
func (t *portableConn) Resume() {
	t.paused = false
	if t.owed {
		t.owed = false
		t.read <- struct{}{}
	}
}

// CloseWrite implements Transport.
func (t *portableConn) CloseWrite() {
	t.mu.Lock()
	t.half = true
	t.mu.Unlock()
	t.wakeWriter()
}

// Close implements Transport.
func (t *portableConn) Close() {
	if t.ended {
		return
	}
	t.ended = true
	close(t.end)
	// The writer ends the connection: at the latest when the grace is over.
	_ = t.socket.SetWriteDeadline(time.Now().Add(t.poller.options.CloseGrace))
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.wakeWriter()
}

// Reset implements Transport.
func (t *portableConn) Reset() {
	if t.ended {
		return
	}
	t.ended = true
	close(t.end)
	if tcp, ok := TCP(t.socket); ok {
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

// readLoop hands over pieces. The loop takes one before the next is read.
func (t *portableConn) readLoop() {
	buf := make([]byte, portableReadBytes)
	for {
		n, err := t.socket.Read(buf)
		if n > 0 {
			t.post(func() { t.poller.arrived = append(t.poller.arrived, arrival{t, buf[:n]}) })
			select {
			case <-t.read:
			case <-t.end:
				return
			}
		}
		if err != nil {
			t.post(func() {
				if !t.ended {
					t.owner.Gone()
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
	t.owner.Received(p)
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

// post has the loop run a task, if it has not ended.
func (t *portableConn) post(task func()) { t.poller.options.Post(task) }

// wrote tells the loop that there is room, if it waits for that.
func (t *portableConn) wrote(left int) {
	t.mu.Lock()
	t.writing = left
	tell := t.refused
	t.refused = false
	t.mu.Unlock()
	if tell {
		t.post(func() {
			if !t.ended {
				t.owner.Writable()
			}
		})
	}
}

func (t *portableConn) failed() {
	_ = t.socket.Close()
	t.post(func() {
		if !t.ended {
			t.owner.Gone()
		}
	})
}

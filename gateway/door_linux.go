package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	acceptBatch = 64 // clients taken in before other sockets have their turn
	doorSlot    = -1 // the listening descriptor's, in an epoll set
)

// door takes clients in. The listening descriptor stands in the epoll set of
// the first loop, and each client is given to the next loop as a bare
// descriptor: only one that does not want a WebSocket becomes a net.Conn. When
// there are too many, or no descriptor is left, it pauses, and clients wait in
// the kernel's backlog. All of it belongs to the first loop.
type door struct {
	poller   *epollPoller
	raw      syscall.RawConn // of the listener
	next     int             // whose turn it is among the loops
	taken    [][]stranger    // of one call of accept, by loop
	paused   bool
	resumeAt time.Duration
}

// stranger is an accepted client.
type stranger struct {
	fd   int
	from netip.Addr
}

// openDoor has clients accepted from l and returns where those are to be had
// that are net/http's. It is called before the loop runs.
func (p *epollPoller) openDoor(l *net.TCPListener) (net.Listener, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take listening descriptor: %w", err)
	}
	if err := p.loop.server.furnish(raw); err != nil {
		return nil, err
	}
	p.door = &door{poller: p, raw: raw, taken: make([][]stranger, len(p.loop.server.loops))}
	if err := p.door.watch(unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
		return nil, fmt.Errorf("watch listener: %w", err)
	}
	return p.loop.server.lobby, nil
}

// furnish sets what accepted descriptors inherit. Without a bound on the send
// buffer a slow client hides megabytes in the kernel.
func (s *Server) furnish(listener syscall.RawConn) error {
	var failed error
	err := listener.Control(func(fd uintptr) {
		failed = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, s.cfg.SendBufferBytes),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		)
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("set options of clients: %w", err)
	}
	return nil
}

func (d *door) watch(op int, events uint32) error {
	var failed error
	err := d.raw.Control(func(fd uintptr) {
		failed = unix.EpollCtl(d.poller.fd, op, int(fd), &unix.EpollEvent{Events: events, Fd: doorSlot})
	})
	return errors.Join(err, failed)
}

// accept takes in who waits.
func (d *door) accept() {
	defer d.deal()
	s := d.poller.loop.server
	for range acceptBatch {
		if reason := s.crowded(); reason != "" {
			d.pause(reason)
			return
		}
		fd, from, err := d.acceptOne()
		switch {
		case err == nil:
			d.take(stranger{fd, from})
		case errors.Is(err, unix.EAGAIN), errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			// The next one may be better.
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			d.pause("descriptors")
			return
		default:
			s.cfg.Logger.Warn("accept client", "error", err)
			d.pause("error")
			return
		}
	}
}

func (d *door) acceptOne() (fd int, from netip.Addr, err error) {
	var address unix.Sockaddr
	var failed error
	err = d.raw.Control(func(listener uintptr) {
		fd, address, failed = unix.Accept4(int(listener), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	})
	if err == nil {
		err = failed
	}
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		from = netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		from = netip.AddrFrom16(a.Addr).Unmap()
	}
	return fd, from, err
}

func (d *door) pause(reason string) {
	loop := d.poller.loop
	loop.server.metrics.acceptPauses.WithLabelValues(reason).Inc()
	d.paused, d.resumeAt = true, loop.now+acceptPause
	d.mustWatch(0)
}

// resume ends a pause when it is over.
func (d *door) resume() {
	if d.paused && d.poller.loop.now >= d.resumeAt {
		d.paused = false
		d.mustWatch(unix.EPOLLIN)
	}
}

// mustWatch changes what the listener is watched for, which cannot fail but
// when it is closed.
func (d *door) mustWatch(events uint32) {
	if err := d.watch(unix.EPOLL_CTL_MOD, events); err != nil && !errors.Is(err, net.ErrClosed) {
		panic(fmt.Sprintf("gateway: watch listener: %v", err))
	}
}

// take keeps a client for the next loop, unless its address has too many.
func (d *door) take(c stranger) {
	s := d.poller.loop.server
	if refused := s.newcomer(c.from); refused != nil {
		s.refused(refused, "handshake", newPeer(c.from.String(), "", ""))
		// As much of an answer as there can be without waiting.
		_, _ = unix.Write(c.fd, tooManyNewcomers)
		_ = unix.Close(c.fd)
		return
	}
	s.strangers.Add(1)
	d.next = (d.next + 1) % len(s.loops)
	d.taken[d.next] = append(d.taken[d.next], c)
}

// deal gives the loops who was taken for them.
func (d *door) deal() {
	s := d.poller.loop.server
	for i, mine := range d.taken {
		if len(mine) == 0 {
			continue
		}
		d.taken[i] = nil
		l := s.loops[i]
		greeted := l.mail.post(func() {
			for _, c := range mine {
				l.poller.(*epollPoller).greet(c)
			}
		})
		if !greeted {
			for _, c := range mine {
				s.newcomers.leave(c.from)
				s.unauthenticated.leave(c.from)
				s.strangers.Add(-1)
				_ = unix.Close(c.fd)
			}
		}
	}
}

// surrender makes a net.Conn of the descriptor, which is not the loop's any more.
func (t *epollConn) surrender() (net.Conn, error) {
	err := t.control(unix.EPOLL_CTL_DEL)
	fd := int(t.fd)
	t.vacate()
	file := os.NewFile(uintptr(fd), "client")
	socket, dupErr := net.FileConn(file)
	if err := errors.Join(err, dupErr, file.Close()); err != nil {
		if socket != nil {
			err = errors.Join(err, socket.Close())
		}
		return nil, err
	}
	return socket, nil
}

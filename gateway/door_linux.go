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
	acceptPause = 100 * time.Millisecond
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
	paused   bool
	resumeAt time.Duration
}

// openDoor has clients accepted from l and returns where those are to be had
// that are net/http's. It is called before the loop runs.
func (p *epollPoller) openDoor(l *net.TCPListener) (net.Listener, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take listening descriptor: %w", err)
	}
	p.door = &door{poller: p, raw: raw}
	if err := p.door.watch(unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
		return nil, fmt.Errorf("watch listener: %w", err)
	}
	return p.loop.server.lobby, nil
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
	s := d.poller.loop.server
	for range acceptBatch {
		if reason := s.crowded(); reason != "" {
			d.pause(reason)
			return
		}
		fd, from, err := d.acceptOne()
		switch {
		case err == nil:
			d.take(fd, from)
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

// take gives a client to the next loop.
func (d *door) take(fd int, from netip.Addr) {
	s := d.poller.loop.server
	if !s.newcomers.enter(from, s.trusted(from.String())) {
		s.metrics.refused(CodeRateLimited, "handshake")
		// As much of an answer as there can be without waiting.
		_, _ = unix.Write(fd, tooManyNewcomers)
		_ = unix.Close(fd)
		return
	}
	s.strangers.Add(1)
	d.next = (d.next + 1) % len(s.loops)
	l := s.loops[d.next]
	if !l.mail.post(func() { l.poller.(*epollPoller).greet(fd, from) }) {
		s.newcomers.leave(from)
		s.strangers.Add(-1)
		_ = unix.Close(fd)
	}
}

var tooManyNewcomers = []byte("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

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

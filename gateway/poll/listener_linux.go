package poll

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenerSlot stands for the listening descriptor in an epoll set.
const listenerSlot = -1

// epollListener is a listening descriptor in a loop's epoll set.
type epollListener struct {
	poller *epollPoller
	raw    syscall.RawConn
	ready  func()
}

// Listen implements Acceptor. Without a bound on the send buffer a slow client hides
// megabytes in the kernel.
func (p *epollPoller) Listen(l *net.TCPListener, sendBuffer int, ready func()) (Listener, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take listening descriptor: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		)
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("set options of clients: %w", err)
	}
	p.listener = &epollListener{poller: p, raw: raw, ready: ready}
	if err := p.listener.watch(unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
		return nil, fmt.Errorf("watch listener: %w", err)
	}
	return p.listener, nil
}

func (l *epollListener) watch(op int, events uint32) error {
	var failed error
	err := l.raw.Control(func(fd uintptr) {
		failed = unix.EpollCtl(l.poller.fd, op, int(fd), &unix.EpollEvent{Events: events, Fd: listenerSlot})
	})
	return errors.Join(err, failed)
}

// Accept implements Listener.
func (l *epollListener) Accept() (Accepted, error) {
	for {
		fd, from, err := l.acceptOne()
		switch {
		case err == nil:
			return Accepted{From: from, fd: fd}, nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, net.ErrClosed):
			return Accepted{}, ErrNoneWaits
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			// The next one may be better.
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			return Accepted{}, ErrDescriptors
		default:
			return Accepted{}, fmt.Errorf("accept: %w", err)
		}
	}
}

func (l *epollListener) acceptOne() (fd int, from netip.Addr, err error) {
	var address unix.Sockaddr
	var failed error
	err = l.raw.Control(func(listener uintptr) {
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

// Refuse implements Listener.
func (l *epollListener) Refuse(a Accepted, answer []byte) {
	if len(answer) > 0 {
		_, _ = unix.Write(a.fd, answer) // as much as there is room for
	}
	_ = unix.Close(a.fd)
}

// Pause implements Listener.
func (l *epollListener) Pause() { l.mustWatch(0) }

// Resume implements Listener.
func (l *epollListener) Resume() { l.mustWatch(unix.EPOLLIN) }

// mustWatch changes the events of the listener. That fails only once it is closed.
func (l *epollListener) mustWatch(events uint32) {
	if err := l.watch(unix.EPOLL_CTL_MOD, events); err != nil && !errors.Is(err, net.ErrClosed) {
		panic(fmt.Sprintf("poll: watch listener: %v", err))
	}
}

// Adopt implements Acceptor.
func (p *epollPoller) Adopt(a Accepted, owner Owner) (Socket, error) { return p.add(a.fd, owner) }

// Release implements Socket.
func (t *epollConn) Release() (net.Conn, error) {
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

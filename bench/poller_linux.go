package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// poller is an epoll set with a timer of nanoseconds in it, and the calls on
// non-blocking sockets that a swarm makes.
type poller struct {
	epoll, timer int
	armed        time.Time // when the timer goes off; zero when it is not set
	events       []unix.EpollEvent
}

// readiness of a socket.
type happened struct {
	slot               int
	readable, writable bool
}

// timerSlot marks the timer among the sockets.
const timerSlot = -1

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll set: %w", err)
	}
	p := &poller{epoll: epoll, events: make([]unix.EpollEvent, 1024)}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("make timer: %w", err), unix.Close(epoll))
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: timerSlot}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, p.timer, &event); err != nil {
		return nil, errors.Join(fmt.Errorf("watch timer: %w", err), p.close())
	}
	return p, nil
}

func (p *poller) close() error {
	return errors.Join(unix.Close(p.timer), unix.Close(p.epoll))
}

// dial begins a connection. receive is the size of the receive buffer in bytes, 0
// for the system's choice; a local address that is not valid is chosen by the
// system too. What is written before the connection has come about finds no room.
func (p *poller) dial(to netip.AddrPort, local netip.Addr, receive int) (fd int, err error) {
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	if err := begin(fd, to, local, receive); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func begin(fd int, to netip.AddrPort, local netip.Addr, receive int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	if receive > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receive); err != nil {
			return fmt.Errorf("set SO_RCVBUF: %w", err)
		}
	}
	if local.IsValid() {
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
		}
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
			return fmt.Errorf("bind %v: %w", local, err)
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect to %v: %w", to, err)
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// add has a socket watched.
func (p *poller) add(fd, slot int, readable, writable bool) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, slot, readable, writable)
}

// watch says what a socket is watched for from now on.
func (p *poller) watch(fd, slot int, readable, writable bool) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, slot, readable, writable)
}

func (p *poller) control(op, fd, slot int, readable, writable bool) error {
	event := unix.EpollEvent{Fd: int32(slot)}
	if readable {
		event.Events |= unix.EPOLLIN
	}
	if writable {
		event.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(p.epoll, op, fd, &event); err != nil {
		return fmt.Errorf("watch socket: %w", err)
	}
	return nil
}

// wait returns what happened, at the latest at the given time.
func (p *poller) wait(until time.Time, to []happened) ([]happened, error) {
	timeout := -1
	if left := time.Until(until); left <= 0 {
		timeout = 0
	} else if !p.armed.Equal(until) {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(left.Nanoseconds())}
		if err := unix.TimerfdSettime(p.timer, 0, &spec, nil); err != nil {
			return nil, fmt.Errorf("set timer: %w", err)
		}
		p.armed = until
	}
	n, err := unix.EpollWait(p.epoll, p.events, timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("wait for sockets: %w", err)
	}
	for _, e := range p.events[:max(n, 0)] {
		if e.Fd == timerSlot {
			var count [8]byte
			if _, err := unix.Read(p.timer, count[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
				return nil, fmt.Errorf("read timer: %w", err)
			}
			p.armed = time.Time{}
			continue
		}
		const ended = unix.EPOLLHUP | unix.EPOLLERR
		to = append(to, happened{
			slot:     int(e.Fd),
			readable: e.Events&(unix.EPOLLIN|ended) != 0,
			writable: e.Events&(unix.EPOLLOUT|ended) != 0,
		})
	}
	return to, nil
}

// errAgain says that a socket has nothing, or no room, at the moment, or is not
// connected yet.
var errAgain error = unix.EAGAIN

func (*poller) read(fd int, b []byte) (int, error)  { return unix.Read(fd, b) }
func (*poller) write(fd int, b []byte) (int, error) { return unix.Write(fd, b) }
func (*poller) hangUp(fd int) error                 { return unix.Close(fd) }

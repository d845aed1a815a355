package gateway

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const epollBatch = 256

// epollPoller watches raw descriptors with an epoll set of its own. An idle
// connection costs a slot: no goroutine, no buffer, no entry in Go's poller.
//
// The set itself is watched through Go's poller, so that no thread is blocked in
// epoll_wait: a watcher goroutine parks there, takes the first events and hands
// the set to the loop. It waits again only when the loop has found the set
// empty, because Go's poller tells of a change, not of a state.
type epollPoller struct {
	loop   *loop
	set    *os.File
	raw    syscall.RawConn
	fd     int // of set
	handed atomic.Bool
	rearm  chan struct{} // the loop has found the set empty
	quit   chan struct{}
	done   sync.WaitGroup

	// Of the watcher until handed is set, then of the loop until it rearms.
	events [epollBatch]unix.EpollEvent
	n      int

	// Of the loop.
	slots     []epollSlot
	free      []int32
	taken     int32 // how many slots have been taken, the next one's generation
	buf       []byte
	door      *door     // of the first loop
	greetings list.List // of *greeting, the oldest first
	other     poller    // for sockets that are not plain TCP
}

// epollSlot is what epoll knows a connection by: its index and generation, which
// no other connection of the loop has. A number of a closed descriptor can come
// back at once, with events of the old connection still in the batch; the
// generation tells them apart.
type epollSlot struct {
	conn       *epollConn
	generation int32
}

func newEpollPoller(l *loop) (poller, error) {
	other, err := newPortablePoller(l)
	if err != nil {
		return nil, err
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll set: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("make epoll set non-blocking: %w", err), unix.Close(fd))
	}
	p := &epollPoller{
		loop:  l,
		set:   os.NewFile(uintptr(fd), "epoll"),
		fd:    fd,
		rearm: make(chan struct{}, 1),
		quit:  make(chan struct{}),
		buf:   make([]byte, maxReadBytes), // shared by all connections of the loop
		other: other,
	}
	if p.raw, err = p.set.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch epoll set: %w", err), p.set.Close())
	}
	p.done.Go(p.watch)
	return p, nil
}

func (p *epollPoller) watch() {
	for {
		err := p.raw.Read(func(uintptr) bool {
			p.n = p.wait()
			return p.n != 0
		})
		if err != nil {
			return // the set was closed
		}
		p.handed.Store(true)
		p.loop.mail.signal()
		select {
		case <-p.rearm:
		case <-p.quit:
			return
		}
	}
}

// wait takes what events there are. An error can only mean that the set is no
// epoll set any more, which is a mistake in this file.
func (p *epollPoller) wait() int {
	for {
		n, err := unix.EpollWait(p.fd, p.events[:], 0)
		switch {
		case err == nil:
			return n
		case !errors.Is(err, unix.EINTR):
			panic(fmt.Sprintf("gateway: epoll_wait: %v", err))
		}
	}
}

func (p *epollPoller) poll() {
	p.other.poll()
	p.expireGreetings()
	if p.door != nil {
		p.door.resume()
	}
	if !p.handed.Load() {
		return
	}
	for _, event := range p.events[:p.n] {
		if event.Fd == doorSlot {
			p.door.accept()
			continue
		}
		if c := p.connOf(event.Fd, event.Pad); c != nil {
			c.happened(event.Events)
		}
	}
	if p.n = p.wait(); p.n > 0 {
		p.loop.mail.signal() // the next turn, after what these have caused is written
		return
	}
	p.handed.Store(false)
	p.rearm <- struct{}{}
}

func (p *epollPoller) close() {
	for p.greetings.Len() > 0 {
		p.greetings.Front().Value.(*greeting).gone()
	}
	close(p.quit)
	// Wakes the watcher, whichever way it waits; a close error of an epoll set
	// would lose nothing.
	_ = p.set.Close()
	p.done.Wait()
	p.other.close()
}

// attach takes the descriptor out of Go's hands. It is duplicated and the
// original closed, which ends its registration with Go's poller: one descriptor
// and one registration remain.
func (p *epollPoller) attach(c *conn, socket net.Conn) (transport, error) {
	if _, encrypted := socket.(*tls.Conn); encrypted {
		return p.other.attach(c, socket)
	}
	tcp, ok := tcpOf(socket)
	if !ok {
		return p.other.attach(c, socket)
	}
	fd, err := takeDescriptor(tcp, socket)
	if err != nil {
		return nil, err
	}
	t := &epollConn{poller: p, owner: c, fd: int32(fd), slot: p.takeSlot(), interest: unix.EPOLLIN | unix.EPOLLRDHUP, atMost: maxStrangerBytes}
	p.slots[t.slot].conn = t
	if err := t.control(unix.EPOLL_CTL_ADD); err != nil {
		t.release()
		return nil, err
	}
	return t, nil
}

// takeDescriptor takes the descriptor of tcp and closes socket, which is tcp or
// is laid upon it.
func takeDescriptor(tcp *net.TCPConn, socket net.Conn) (fd int, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, errors.Join(fmt.Errorf("take descriptor: %w", err), socket.Close())
	}
	var dupErr error
	err = raw.Control(func(original uintptr) {
		fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, dupErr); err != nil {
		return 0, errors.Join(fmt.Errorf("take descriptor: %w", err), socket.Close())
	}
	if err := socket.Close(); err != nil {
		return 0, errors.Join(fmt.Errorf("release descriptor: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func (p *epollPoller) takeSlot() (slot int32) {
	if last := len(p.free) - 1; last >= 0 {
		slot = p.free[last]
		p.free = p.free[:last]
	} else {
		slot = int32(len(p.slots))
		p.slots = append(p.slots, epollSlot{})
	}
	p.slots[slot].generation = p.taken
	p.taken++
	return slot
}

// connOf returns the connection that has a slot in a generation, nil when it has
// gone, and perhaps its slot with it.
func (p *epollPoller) connOf(slot, generation int32) *epollConn {
	if int(slot) >= len(p.slots) || p.slots[slot].generation != generation {
		return nil
	}
	return p.slots[slot].conn
}

// trim drops the free slots behind the last that is taken.
func (p *epollPoller) trim() {
	n := len(p.slots)
	for n > 0 && p.slots[n-1].conn == nil {
		n--
	}
	p.slots = slices.Clone(p.slots[:n])
	p.free = slices.Clone(slices.DeleteFunc(p.free, func(slot int32) bool { return int(slot) >= n }))
	p.other.trim()
}

// socketOwner is told what happens on a socket, on its loop.
type socketOwner interface {
	received(p []byte) // p may be changed and is not kept
	writable()
	gone()
}

// epollConn is one descriptor in the loop's epoll set.
type epollConn struct {
	poller   *epollPoller
	owner    socketOwner
	fd       int32
	slot     int32
	interest uint32
	atMost   int32 // bytes of one read
}

func (t *epollConn) control(op int) error {
	event := unix.EpollEvent{Events: t.interest, Fd: t.slot, Pad: t.poller.slots[t.slot].generation}
	if err := unix.EpollCtl(t.poller.fd, op, int(t.fd), &event); err != nil {
		return fmt.Errorf("watch socket: %w", err)
	}
	return nil
}

// want changes what the socket is watched for. It cannot fail but for want of
// kernel memory; then the connection ends, as nothing would wake it.
func (t *epollConn) want(interest uint32) error {
	if interest == t.interest {
		return nil
	}
	t.interest = interest
	return t.control(unix.EPOLL_CTL_MOD)
}

func (t *epollConn) Write(p []byte) (int, error) {
	n, err := retryInterrupted(func() (int, error) { return unix.Write(int(t.fd), p) })
	if err != nil {
		if !errors.Is(err, unix.EAGAIN) {
			return 0, fmt.Errorf("write: %w", err)
		}
		n = 0
	}
	if n < len(p) {
		return n, t.want(t.interest | unix.EPOLLOUT)
	}
	return n, nil
}

func (t *epollConn) Acknowledged() (n uint64, ok bool) { return acknowledged(int(t.fd)) }

func (t *epollConn) Pause() {
	if t.want(t.interest&^(unix.EPOLLIN|unix.EPOLLRDHUP)) != nil {
		t.owner.gone()
	}
}

func (t *epollConn) Resume() {
	if t.want(t.interest|unix.EPOLLIN|unix.EPOLLRDHUP) != nil {
		t.owner.gone()
	}
}

func (t *epollConn) ReadAtMost(n int) { t.atMost = int32(min(n, len(t.poller.buf))) }

func (t *epollConn) CloseWrite() {
	// A socket that has ended otherwise says so by itself.
	_ = unix.Shutdown(int(t.fd), unix.SHUT_WR)
}

func (t *epollConn) Close() { t.release() }

func (t *epollConn) Reset() {
	// A socket that cannot be reset is closed all the same.
	_ = unix.SetsockoptLinger(int(t.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	t.release()
}

// release closes the descriptor, which takes it out of the epoll set.
func (t *epollConn) release() {
	_ = unix.Close(int(t.fd))
	t.vacate()
}

// vacate frees the slot.
func (t *epollConn) vacate() {
	t.poller.slots[t.slot].conn = nil
	t.poller.free = append(t.poller.free, t.slot)
}

// happened handles the events of one descriptor. What is not read now is told
// again, after the other connections had their turn.
func (t *epollConn) happened(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		if t.want(t.interest&^unix.EPOLLOUT) != nil {
			t.owner.gone()
			return
		}
		t.owner.writable()
	}
	broken := events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
	switch {
	case t.interest&unix.EPOLLIN == 0:
		if broken {
			t.owner.gone()
		}
	case broken || events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0:
		t.read()
	}
}

func (t *epollConn) read() {
	buf := t.poller.buf[:t.atMost]
	n, err := retryInterrupted(func() (int, error) { return unix.Read(int(t.fd), buf) })
	switch {
	case n > 0:
		t.owner.received(buf[:n])
	case err == nil || !errors.Is(err, unix.EAGAIN):
		t.owner.gone()
	}
}

func retryInterrupted(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

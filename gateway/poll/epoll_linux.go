package poll

import (
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

// epollPoller watches raw descriptors with an epoll set of its own. An idle connection
// costs a slot: no goroutine, no buffer, no entry in Go's poller.
//
// Go's poller watches the set itself, so that no thread is blocked in epoll_wait. A watcher
// goroutine parks there, takes the first events and hands the set to the loop. It waits
// again only when the loop has found the set empty, because Go's poller tells of a change
// and not of a state.
type epollPoller struct {
	wake   func()
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
	slots    []epollSlot
	free     []int32
	taken    int32 // how many slots have been taken, the next one's generation
	buf      []byte
	atMost   int32          // bytes of one read of a new connection
	listener *epollListener // of the loop that accepts
	other    Poller         // for sockets that are not plain TCP
}

// epollSlot belongs to one connection. Epoll knows it by index and generation, which no
// other connection of the loop has. The number of a closed descriptor can come back at
// once, with events of the old connection still in the batch. The generation tells the
// two apart.
type epollSlot struct {
	conn       *epollConn
	generation int32
}

func newEpollPoller(o Options) (Poller, error) {
	other, err := newPortablePoller(o)
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
		wake:   o.Wake,
		set:    os.NewFile(uintptr(fd), "epoll"),
		fd:     fd,
		rearm:  make(chan struct{}, 1),
		quit:   make(chan struct{}),
		buf:    make([]byte, MaxRead), // shared by all connections of the loop
		other:  other,
		atMost: int32(min(o.ReadAtMost, MaxRead)),
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
		p.wake()
		select {
		case <-p.rearm:
		case <-p.quit:
			return
		}
	}
}

// wait takes the events that there are. An error can only mean that the set is no epoll set
// any more, which is a mistake in this file.
func (p *epollPoller) wait() int {
	for {
		n, err := unix.EpollWait(p.fd, p.events[:], 0)
		switch {
		case err == nil:
			return n
		case !errors.Is(err, unix.EINTR):
			panic(fmt.Sprintf("poll: epoll_wait: %v", err))
		}
	}
}

// Poll implements Poller.
func (p *epollPoller) Poll() {
	p.other.Poll()
	if !p.handed.Load() {
		return
	}
	for _, event := range p.events[:p.n] {
		if event.Fd == listenerSlot {
			p.listener.ready()
			continue
		}
		if c := p.connOf(event.Fd, event.Pad); c != nil {
			c.happened(event.Events)
		}
	}
	if p.n = p.wait(); p.n > 0 {
		p.wake() // the next turn, once the effects of these events are written
		return
	}
	p.handed.Store(false)
	p.rearm <- struct{}{}
}

// Close implements Poller.
func (p *epollPoller) Close() {
	close(p.quit)
	// Closing wakes the watcher wherever it waits. An error would lose nothing.
	_ = p.set.Close()
	p.done.Wait()
	p.other.Close()
}

// Attach implements Poller. It takes the descriptor out of Go's hands: it duplicates the
// descriptor and closes the original, which ends its registration with Go's poller.
func (p *epollPoller) Attach(owner Owner, socket net.Conn) (Transport, error) {
	if _, encrypted := socket.(*tls.Conn); encrypted {
		return p.other.Attach(owner, socket)
	}
	tcp, ok := TCP(socket)
	if !ok {
		return p.other.Attach(owner, socket)
	}
	fd, err := takeDescriptor(tcp, socket)
	if err != nil {
		return nil, err
	}
	return p.add(fd, owner)
}

// add watches a descriptor, and closes it when that fails.
func (p *epollPoller) add(fd int, owner Owner) (*epollConn, error) {
	t := &epollConn{
		poller: p, owner: owner, fd: int32(fd), slot: p.takeSlot(),
		interest: unix.EPOLLIN | unix.EPOLLRDHUP, atMost: p.atMost,
	}
	p.slots[t.slot].conn = t
	if err := t.control(unix.EPOLL_CTL_ADD); err != nil {
		t.release()
		return nil, err
	}
	return t, nil
}

// takeDescriptor takes the descriptor of tcp and closes socket, which is tcp or is laid
// upon it.
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

// connOf returns the connection that has a slot in a generation. It is nil when the
// connection has gone, and perhaps its slot with it.
func (p *epollPoller) connOf(slot, generation int32) *epollConn {
	if int(slot) >= len(p.slots) || p.slots[slot].generation != generation {
		return nil
	}
	return p.slots[slot].conn
}

// Trim implements Poller. It drops the free slots behind the last that is taken.
func (p *epollPoller) Trim() {
	n := len(p.slots)
	for n > 0 && p.slots[n-1].conn == nil {
		n--
	}
	p.slots = slices.Clone(p.slots[:n])
	p.free = slices.Clone(slices.DeleteFunc(p.free, func(slot int32) bool { return int(slot) >= n }))
	p.other.Trim()
}

// epollConn is one descriptor in the loop's epoll set.
type epollConn struct {
	poller   *epollPoller
	owner    Owner
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

// want changes the events that the socket is watched for. It fails only for lack of kernel
// memory. Then the connection ends, as nothing would wake it.
func (t *epollConn) want(interest uint32) error {
	if interest == t.interest {
		return nil
	}
	t.interest = interest
	return t.control(unix.EPOLL_CTL_MOD)
}

// Write implements Transport.
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

// Acknowledged implements Transport.
func (t *epollConn) Acknowledged() (n uint64, ok bool) { return acknowledged(int(t.fd)) }

// Pause implements Transport.
func (t *epollConn) Pause() {
	if t.want(t.interest&^(unix.EPOLLIN|unix.EPOLLRDHUP)) != nil {
		t.owner.Gone()
	}
}

// Resume implements Transport.
func (t *epollConn) Resume() {
	if t.want(t.interest|unix.EPOLLIN|unix.EPOLLRDHUP) != nil {
		t.owner.Gone()
	}
}

// ReadAtMost implements Transport.
func (t *epollConn) ReadAtMost(n int) { t.atMost = int32(min(n, len(t.poller.buf))) }

// CloseWrite implements Transport.
func (t *epollConn) CloseWrite() {
	// A socket that has ended otherwise says so by itself.
	_ = unix.Shutdown(int(t.fd), unix.SHUT_WR)
}

// Close implements Transport.
func (t *epollConn) Close() { t.release() }

// HandTo implements Socket.
func (t *epollConn) HandTo(owner Owner) { t.owner = owner }

// FD implements Socket.
func (t *epollConn) FD() int { return int(t.fd) }

// Reset implements Transport.
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

// happened handles the events of one descriptor. Bytes that are not read now are told again
// after the other connections had their turn.
func (t *epollConn) happened(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		if t.want(t.interest&^unix.EPOLLOUT) != nil {
			t.owner.Gone()
			return
		}
		t.owner.Writable()
	}
	broken := events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
	switch {
	case t.interest&unix.EPOLLIN == 0:
		if broken {
			t.owner.Gone()
		}
	case broken || events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0:
		t.Read()
	}
}

// Read implements Socket.
func (t *epollConn) Read() {
	buf := t.poller.buf[:t.atMost]
	n, err := retryInterrupted(func() (int, error) { return unix.Read(int(t.fd), buf) })
	switch {
	case n > 0:
		t.owner.Received(buf[:n])
	case err == nil || !errors.Is(err, unix.EAGAIN):
		t.owner.Gone()
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

package gateway

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// An event that was taken before its connection was closed must not reach the
// connection that has got the slot since.
func TestEventOfAnEarlierGeneration(t *testing.T) {
	l := &loop{mail: newMailbox(1), server: &Server{}}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// Without a watcher, which would share the events with this test.
	p := &epollPoller{other: &portablePoller{}, loop: l, fd: fd, rearm: make(chan struct{}, 1)}
	slot := p.takeSlot()
	c := &conn{loop: l, dirty: true}
	later := &epollConn{poller: p, owner: c, slot: slot, interest: unix.EPOLLIN}
	c.out.blocked = true
	p.slots[slot] = epollSlot{conn: later, generation: 7}
	for generation, reaches := range map[int32]bool{6: false, 7: true} {
		p.events[0] = unix.EpollEvent{Events: unix.EPOLLOUT, Fd: slot, Pad: generation}
		p.n = 1
		p.handed.Store(true)
		p.poll()
		if reached := !c.out.blocked; reached != reaches {
			t.Errorf("event of generation %d reaches the connection of generation 7: %v", generation, reached)
		}
		c.out.blocked = true
		<-p.rearm
	}
}

// Slots that a crowd has left are dropped, and events of those who had them
// reach nobody, also when the slots are taken again.
func TestSlotsAreTrimmed(t *testing.T) {
	p := &epollPoller{other: &portablePoller{}}
	take := func() *epollConn {
		c := &epollConn{poller: p, slot: p.takeSlot()}
		p.slots[c.slot].conn = c
		return c
	}
	var conns []*epollConn
	var generations []int32
	for i := range 1000 {
		conns = append(conns, take())
		generations = append(generations, p.slots[i].generation)
	}
	const left = 10
	for i, c := range conns {
		if i != left && i != left-2 {
			c.vacate()
		}
	}
	p.trim()
	if len(p.slots) != left+1 || cap(p.slots) > 2*len(p.slots) || len(p.free) != left-1 || cap(p.free) > 2*len(p.slots) {
		t.Fatalf("%d slots (room for %d), %d free (room for %d) after all but two of %d have gone",
			len(p.slots), cap(p.slots), len(p.free), cap(p.free), len(conns))
	}
	for range 20 {
		take()
	}
	for i, c := range conns {
		want := c
		if i != left && i != left-2 {
			want = nil
		}
		if got := p.connOf(c.slot, generations[i]); got != want {
			t.Fatalf("an event of connection %d, which is here: %v, reaches %v", i, want != nil, got)
		}
	}
}

// A slow client must not hide megabytes in the kernel, however it came in.
func TestSendBufferIsBounded(t *testing.T) {
	h := newHarness(t, "epoll", func(c *Config) { c.SendBufferBytes = 16 << 10 })
	h.open(h.public)
	late := h.connect()
	late.send("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" + upgradeHead + "\r\n")
	// The kernel doubles what it is asked for (socket(7)).
	want := []int{32 << 10, 32 << 10}
	eventually(t, func() string {
		var sizes []int
		h.server.ask(func(l *loop) func() {
			var mine []int
			for _, c := range l.conns {
				size, err := unix.GetsockoptInt(int(c.transport.(*epollConn).fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
				if err != nil {
					size = -1
				}
				mine = append(mine, size)
			}
			return func() { sizes = append(sizes, mine...) }
		})
		if !slices.Equal(sizes, want) {
			return fmt.Sprintf("send buffers of %v bytes, want %v", sizes, want)
		}
		return ""
	})
}

package poll

import (
	"testing"

	"golang.org/x/sys/unix"
)

// An event that was taken before its connection was closed must not reach the
// connection that has got the slot since.
func TestEventOfAnEarlierGeneration(t *testing.T) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// Without a watcher, which would share the events with this test.
	p := &epollPoller{other: &portablePoller{}, fd: fd, rearm: make(chan struct{}, 1)}
	slot := p.takeSlot()
	var c recorder
	later := &epollConn{poller: p, owner: &c, slot: slot, interest: unix.EPOLLIN}
	p.slots[slot] = epollSlot{conn: later, generation: 7}
	for generation, reaches := range map[int32]bool{6: false, 7: true} {
		p.events[0] = unix.EpollEvent{Events: unix.EPOLLOUT, Fd: slot, Pad: generation}
		p.n = 1
		p.handed.Store(true)
		p.Poll()
		if reached := c.writable; reached != reaches {
			t.Errorf("event of generation %d reaches the connection of generation 7: %v", generation, reached)
		}
		c.writable = false
		<-p.rearm
	}
}

// recorder is an owner that notes what it is told.
type recorder struct{ writable bool }

func (*recorder) Received([]byte) {}
func (r *recorder) Writable()     { r.writable = true }
func (*recorder) Gone()           {}

// Slots of connections that have gone are dropped. Their events reach nobody, also when
// the slots are taken again.
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
	p.Trim()
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

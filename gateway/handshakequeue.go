package gateway

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
)

// handshakeQueue bounds how many TLS handshakes are computed at a time. Event loops compete
// for the processors with every goroutine that can run, so a thousand handshakes at once
// would make all clients wait. Addresses that wait are served in turn: one of them with
// many handshakes does not delay another one that has few.
type handshakeQueue struct {
	mu      sync.Mutex
	free    int
	turns   []netip.Addr                   // addresses that wait, by clientaddr.Network
	waiting map[netip.Addr][]chan struct{} // each is closed when its turn has come
}

// newHandshakeQueue leaves half of the processors to everything else.
func newHandshakeQueue() *handshakeQueue {
	return &handshakeQueue{
		free:    max(runtime.GOMAXPROCS(0)/2, 1),
		waiting: make(map[netip.Addr][]chan struct{}),
	}
}

// enter waits for a turn, and returns an error when that takes too long.
func (q *handshakeQueue) enter(from netip.Addr, patience time.Duration) error {
	from = clientaddr.Network(from)
	q.mu.Lock()
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	if len(q.waiting[from]) == 0 {
		q.turns = append(q.turns, from)
	}
	q.waiting[from] = append(q.waiting[from], turn)
	q.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-turn:
		return nil
	case <-timer.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting[from], turn)
	if i < 0 {
		return nil // its turn has just come
	}
	q.setWaiting(from, slices.Delete(q.waiting[from], i, i+1))
	if len(q.waiting[from]) == 0 {
		i := slices.Index(q.turns, from)
		q.turns = slices.Delete(q.turns, i, i+1)
	}
	return os.ErrDeadlineExceeded
}

// leave gives the turn to the next address.
func (q *handshakeQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		q.free++
		return
	}
	from := q.turns[0]
	q.turns = q.turns[1:]
	next := q.waiting[from]
	q.setWaiting(from, next[1:])
	if len(next) > 1 {
		q.turns = append(q.turns, from)
	}
	close(next[0])
}

func (q *handshakeQueue) setWaiting(from netip.Addr, turns []chan struct{}) {
	if len(turns) == 0 {
		delete(q.waiting, from)
		return
	}
	q.waiting[from] = turns
}

package gateway

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/refusal"
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

// handshakeTurn is the turn of one connection. It begins when bytes of the client have been
// read, and ends when more is read, the answer is written, or a request has come. So no
// client can make it last.
type handshakeTurn struct {
	queue    *handshakeQueue // nil without TLS
	patience time.Duration
	over     atomic.Bool // the first request has come
	holds    atomic.Bool
}

// setTurns has the connection wait for turns, if it encrypts.
func (g *httpConn) setTurns() {
	if g.server.cfg.TLS != nil {
		g.turn.queue, g.turn.patience = g.server.handshakeQueue, g.server.cfg.HandshakeTimeout
	}
}

// begin waits for the turn.
func (t *handshakeTurn) begin(from netip.Addr) error {
	if t.queue == nil || t.over.Load() {
		return nil
	}
	if err := t.queue.enter(from, t.patience); err != nil {
		return err
	}
	t.holds.Store(true)
	if t.over.Load() { // it was closed while it waited
		t.end()
	}
	return nil
}

// end gives the turn back, if there is one.
func (t *handshakeTurn) end() {
	if t.holds.Load() && t.holds.Swap(false) {
		t.queue.leave()
	}
}

// finish notes that the handshake is over.
func (t *handshakeTurn) finish() {
	t.over.Store(true)
	t.end()
}

// beginTurn waits until a TLS handshake may be computed.
func (g *httpConn) beginTurn() error {
	err := g.turn.begin(clientaddr.Of(g))
	if err != nil {
		g.server.metrics.handshakesExpired.Inc()
	}
	return err
}

// throttleHandshake refuses the TLS connections of an address that makes too many. A trusted
// proxy speaks for many, and its clients are counted by their own addresses where it uses
// the PROXY protocol.
func (s *Server) throttleHandshake(from netip.Addr) *refusal.Error {
	r := steady(s.cfg.AddressHandshake)
	if s.cfg.TLS == nil || r.Gap == 0 || s.proxies.Trust(from.String()) {
		return nil
	}
	if wait := s.tlsHandshakes.Take(clientaddr.NetworkOf(from.String()), r); wait > 0 {
		return tooMany("of TLS connections from this address", r, wait)
	}
	return nil
}

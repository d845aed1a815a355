package gateway

import (
	"context"
	"io"
	"net/http"
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

// turnQueue bounds how many goroutines of net/http work at a time for clients that have not
// authenticated: on TLS handshakes and on requests. Event loops compete for the processors
// with every goroutine that can run, so a thousand at once would make all clients wait.
// Addresses that wait are served in turn: one of them with many requests does not delay
// another one that has few.
type turnQueue struct {
	mu      sync.Mutex
	free    int
	turns   []netip.Addr                   // addresses that wait, by clientaddr.Network
	waiting map[netip.Addr][]chan struct{} // each is closed when its turn has come
}

// newTurnQueue leaves half of the processors to everything else.
func newTurnQueue() *turnQueue {
	return &turnQueue{
		free:    max(runtime.GOMAXPROCS(0)/2, 1),
		waiting: make(map[netip.Addr][]chan struct{}),
	}
}

// enter waits for a turn, and returns an error when that takes too long.
func (q *turnQueue) enter(from netip.Addr, patience time.Duration) error {
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
func (q *turnQueue) leave() {
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

func (q *turnQueue) setWaiting(from netip.Addr, turns []chan struct{}) {
	if len(turns) == 0 {
		delete(q.waiting, from)
		return
	}
	q.waiting[from] = turns
}

// turn is the turn of one connection. Whoever holds it must not wait for anything else.
type turn struct {
	queue *turnQueue
	over  atomic.Bool // none is needed any more
	holds atomic.Bool
}

// begin waits for the turn.
func (t *turn) begin(from netip.Addr, patience time.Duration) error {
	if t.queue == nil || t.over.Load() {
		return nil
	}
	if err := t.queue.enter(from, patience); err != nil {
		return err
	}
	t.holds.Store(true)
	if t.over.Load() { // it was closed while it waited
		t.end()
	}
	return nil
}

// end gives the turn back, if there is one.
func (t *turn) end() {
	if t.holds.Load() && t.holds.Swap(false) {
		t.queue.leave()
	}
}

// finish notes that no turn is needed any more.
func (t *turn) finish() {
	t.over.Store(true)
	t.end()
}

// beginHandshakeTurn waits until a TLS handshake may be computed. The turn begins when bytes
// of the client have been read, and ends when more is read, the answer is written, or a
// request has come. So no client can make it last.
func (g *httpConn) beginHandshakeTurn() error {
	err := g.handshakeTurn.begin(clientaddr.Of(g), g.server.cfg.HandshakeTimeout)
	if err != nil {
		g.server.metrics.handshakesExpired.Inc()
	}
	return err
}

// beginRequestTurn waits until a request may be worked on, and refuses it when that takes
// too long. The turn ends when the client has authenticated, its body is read, the answer
// is written, or something is waited for.
func (s *Server) beginRequestTurn(r *http.Request) *refusal.Error {
	g, ok := r.Context().Value(httpConnKey{}).(*httpConn)
	if !ok {
		return nil // on the operators' port
	}
	from, _ := netip.ParseAddr(s.proxies.RequestClient(r)) // the invalid one is as good as any
	if g.requestTurn.begin(from, s.cfg.HandshakeTimeout) == nil {
		r.Body = &turnBody{r.Body, &g.requestTurn}
		return nil
	}
	return &refusal.Error{
		Code: refusal.RateLimited, Reason: "too many requests at once from this address", RetryAfter: time.Second,
	}
}

// endRequestTurn ends the turn of the request with a context.
func endRequestTurn(ctx context.Context) {
	if g, ok := ctx.Value(httpConnKey{}).(*httpConn); ok {
		g.requestTurn.end()
	}
}

// turnBody is the body of a request, whose turn ends when it is read.
type turnBody struct {
	io.ReadCloser
	turn *turn
}

// Read implements io.Reader.
func (b *turnBody) Read(p []byte) (int, error) {
	b.turn.end()
	return b.ReadCloser.Read(p)
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

package gateway

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

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

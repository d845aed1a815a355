package gateway

import (
	"cmp"
	"net/http"
	"strings"
	"time"
	"unique"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Refusals returns the refusals of this node that match, newest first.
func (s *Server) Refusals(q refusal.Query) ([]refusal.Record, error) { return s.refusals.Find(q) }

// refused counts a refusal and keeps it with everything that an operator needs to
// understand it.
func (s *Server) refused(r *refusal.Error, via string, from peer) {
	s.metrics.refused(r, via)
	if r.Project != "" {
		s.traffic.Of(r.Project).Refusals.Add(1)
	}
	s.refusals.Add(refusal.Record{
		At:      time.Now().UnixMilli(),
		Node:    s.cfg.Broker.NodeName(),
		Via:     via,
		Code:    r.Code,
		Reason:  r.Reason,
		Detail:  cmp.Or(r.Detail, r.Reason),
		Address: from.address,
		Origin:  from.origin.Value(),
		Attempt: r.Attempt,
	})
}

// peer holds the facts about a client that its first request gave.
type peer struct {
	address string                // of the client, also behind a trusted proxy
	origin  unique.Handle[string] // the Origin header, empty when there was none
	host    unique.Handle[string] // the Host header
}

// newPeer returns a peer that keeps nothing of the request. Most clients share their
// origin and host with many.
func newPeer(address, origin, host string) peer {
	return peer{address: strings.Clone(address), origin: unique.Make(origin), host: unique.Make(host)}
}

// requestPeer returns the client of an HTTP request.
func (s *Server) requestPeer(r *http.Request) peer {
	return newPeer(s.proxies.RequestClient(r), r.Header.Get("Origin"), s.proxies.RequestHost(r))
}

package gateway

import (
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/quota"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Rates bound how often clients may do something, per second and on one node. 0 sets no
// bound. Five seconds' worth may come at once. Only the rates of keys bind a server key:
// it belongs to a backend, whose publishes wait in bounded queues. A request over HTTP
// counts like a frame. Requests that one address makes with one key count as one
// connection. Reading history counts as subscribing.
type Rates struct {
	ConnectionPublish   int // messages of a connection; default 200
	ConnectionSubscribe int // subscribes of a connection; default 500
	KeyConnect          int // connections with one key
	KeyPublish          int
	KeySubscribe        int
	AddressConnect      int // connections from one address
	AddressPublish      int
	AddressSubscribe    int
	AddressHandshake    int // TLS handshakes from one address, but for trusted proxies; default 200
}

func (r *Rates) all() []limit[int] {
	return []limit[int]{
		{"connection-publish-rate", &r.ConnectionPublish},
		{"connection-subscribe-rate", &r.ConnectionSubscribe},
		{"key-connect-rate", &r.KeyConnect},
		{"key-publish-rate", &r.KeyPublish},
		{"key-subscribe-rate", &r.KeySubscribe},
		{"address-connect-rate", &r.AddressConnect},
		{"address-publish-rate", &r.AddressPublish},
		{"address-subscribe-rate", &r.AddressSubscribe},
		{"address-handshake-rate", &r.AddressHandshake},
	}
}

// burstSeconds bounds how many seconds' worth of a rate may come at once.
const burstSeconds = 5

// throttles are a node's token buckets by action. The buckets of a connection are with
// the connection.
type throttles [auth.Publish + 1]throttle

// throttle bounds one action.
type throttle struct {
	connection, key, address ratelimit.Rate

	requests  *ratelimit.Limiter // stands in for connections where there is none
	keys      *ratelimit.Limiter
	addresses *ratelimit.Limiter
}

func newThrottles(l *Limits) *throttles {
	perConnection := [...]int{auth.Connect: 0, auth.Subscribe: l.ConnectionSubscribe, auth.Publish: l.ConnectionPublish}
	perKey := [...]int{auth.Connect: l.KeyConnect, auth.Subscribe: l.KeySubscribe, auth.Publish: l.KeyPublish}
	perAddress := [...]int{
		auth.Connect: l.AddressConnect, auth.Subscribe: l.AddressSubscribe, auth.Publish: l.AddressPublish,
	}
	t := &throttles{}
	for do := auth.Connect; do <= auth.Publish; do++ {
		t[do] = throttle{
			connection: steady(perConnection[do]), key: steady(perKey[do]), address: steady(perAddress[do]),
			requests: ratelimit.NewLimiter(), keys: ratelimit.NewLimiter(), addresses: ratelimit.NewLimiter(),
		}
	}
	// A client that comes back subscribes to all its channels at once.
	t[auth.Subscribe].connection.Allow(l.MaxChannels)
	return t
}

func steady(n int) ratelimit.Rate { return ratelimit.PerSecond(float64(n), n*burstSeconds) }

// throttled returns the action that another one counts as.
func throttled(do auth.Action) auth.Action {
	if do == auth.ReadHistory {
		return auth.Subscribe
	}
	return do
}

// shared spends from the buckets that connections share: of a key, an address and a
// project.
func (s *Server) shared(who auth.Principal, do auth.Action, project *fsm.Project, address string) *refusal.Error {
	t := &s.throttles[do]
	if wait := t.keys.Take(who.KeyID, t.key); wait > 0 {
		return tooMany("with this key", t.key, wait)
	}
	if who.Kind != auth.ServerKey && t.address.Gap > 0 {
		if wait := t.addresses.Take(clientaddr.NetworkOf(address), t.address); wait > 0 {
			return tooMany("from this address", t.address, wait)
		}
	}
	switch do {
	case auth.Connect:
		refused := s.quotas.Connect(project)
		if refused == nil {
			s.traffic.Of(project.ID).Opened.Add(1)
		}
		return refused
	case auth.Publish:
		return s.quotas.Publish(project)
	}
	return nil
}

// bound reports whether rates bind a principal: backends and operators are not bound.
func bound(who auth.Principal) bool { return who.Kind != auth.ServerKey && who.Kind != auth.Admin }

// MeasureUsage ends a second of counting. It reports whether a quota needs the usage of
// other nodes.
func (s *Server) MeasureUsage() bool {
	s.quotas.Measure(time.Now())
	return len(s.Usage()) > 0
}

// Usage returns the usage of the projects that have quotas on this node.
func (s *Server) Usage() map[string]quota.Usage { return s.quotas.Shared(s.cfg.Broker.Project) }

// DivideQuotas takes in the usage of all other nodes that can be reached.
func (s *Server) DivideQuotas(others []map[string]quota.Usage) {
	s.quotas.Divide(others, s.cfg.Broker.Project)
}

// tooMany returns the refusal of an action that exceeds a rate.
func tooMany(of string, r ratelimit.Rate, wait time.Duration) *refusal.Error {
	reason := "too much at once " + of
	return &refusal.Error{
		Code: refusal.RateLimited, Reason: reason, RetryAfter: max(wait, time.Millisecond),
		Detail: fmt.Sprintf("%s: %.3g a second are allowed, %d at once",
			reason, float64(time.Second)/float64(r.Gap), r.Burst/r.Gap),
	}
}

// connExtras is what few connections need.
type connExtras struct {
	memberships
	pings    ratelimit.Bucket
	messages ratelimit.Bucket            // messages, unless it is a backend's
	grants   map[string]ratelimit.Bucket // those of each grant, by pattern
}

// throttle refuses an action that the client does too often.
func (c *conn) throttle(who auth.Principal, do auth.Action, project *fsm.Project, channel string) *refusal.Error {
	s := c.loop.server
	refused := c.spend(who, do, project, channel, s.throttles[do].connection)
	if refused == nil {
		refused = s.shared(who, do, project, c.peer.address)
	}
	if refused != nil {
		return refused.Of(who.Attempt(do, channel))
	}
	return nil
}

// spend takes from the connection's own buckets.
func (c *conn) spend(
	who auth.Principal, do auth.Action, project *fsm.Project, channel string, r ratelimit.Rate,
) *refusal.Error {
	switch {
	case who.Kind == auth.ServerKey:
		return nil
	case do == auth.Subscribe:
		if wait := c.subscribes.Take(r, c.loop.now); wait > 0 {
			return tooMany("on this connection", r, wait)
		}
		return nil
	}
	if wait := c.more().messages.Take(r, c.loop.now); wait > 0 {
		return tooMany("on this connection", r, wait)
	}
	if grant, r := grantOf(who, project, channel); r.Gap > 0 {
		if wait := c.extras.take(grant, r, c.loop.now); wait > 0 {
			return tooMany("on this connection under the grant of "+grant, r, wait)
		}
	}
	return nil
}

// grantOf returns the grant that allows a publish, if it sets a bound.
func grantOf(who auth.Principal, project *fsm.Project, channel string) (pattern string, r ratelimit.Rate) {
	if who.Kind != auth.PublicKey {
		return "", ratelimit.Rate{}
	}
	grant, _ := project.Access.PublishGrant(channel)
	return grant.Pattern, ratelimit.PerSecond(grant.Rate, grant.Burst)
}

// take spends a token of a grant.
func (m *connExtras) take(grant string, r ratelimit.Rate, now time.Duration) (wait time.Duration) {
	if m.grants == nil {
		m.grants = make(map[string]ratelimit.Bucket)
	}
	spent := m.grants[grant]
	wait = spent.Take(r, now)
	m.grants[grant] = spent
	return wait
}

// throttleRequest refuses an action that is done too often over HTTP.
func (s *Server) throttleRequest(
	who auth.Principal, do auth.Action, project *fsm.Project, channel, address string,
) *refusal.Error {
	refused := s.spendRequest(who, do, project, channel, address)
	if refused == nil {
		refused = s.shared(who, throttled(do), project, address)
	}
	if refused != nil {
		return refused.Of(who.Attempt(do, channel))
	}
	return nil
}

// spendRequest takes from the buckets that stand in for those of a connection.
func (s *Server) spendRequest(
	who auth.Principal, do auth.Action, project *fsm.Project, channel, address string,
) *refusal.Error {
	if who.Kind == auth.ServerKey {
		return nil
	}
	const of = "from this address with this key"
	t, name := &s.throttles[throttled(do)], who.KeyID+" "+clientaddr.NetworkOf(address)
	if wait := t.requests.Take(name, t.connection); wait > 0 {
		return tooMany(of, t.connection, wait)
	}
	if do != auth.Publish {
		return nil
	}
	if grant, r := grantOf(who, project, channel); r.Gap > 0 {
		if wait := t.requests.Take(name+" "+grant, r); wait > 0 {
			return tooMany(of+" under the grant of "+grant, r, wait)
		}
	}
	return nil
}

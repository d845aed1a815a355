package gateway

import (
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// Rates bound how often clients may do something, per second and on one node; 0
// sets no bound. Five seconds' worth may come at once. A server key is bound by
// those of keys only: it belongs to a backend, whose publishes wait their turn in
// bounded queues. A request over HTTP counts like a frame, and those that one
// address makes with one key count as one connection; reading history counts as
// subscribing.
type Rates struct {
	ConnectionPublish   int // messages of a connection; default 200
	ConnectionSubscribe int // subscribes of a connection; default 500
	KeyConnect          int // connections with one key
	KeyPublish          int
	KeySubscribe        int
	AddressConnect      int // connections from one address
	AddressPublish      int
	AddressSubscribe    int
}

func (r *Rates) all() []limit[int] {
	return []limit[int]{
		{"ConnectionPublish", &r.ConnectionPublish}, {"ConnectionSubscribe", &r.ConnectionSubscribe},
		{"KeyConnect", &r.KeyConnect}, {"KeyPublish", &r.KeyPublish}, {"KeySubscribe", &r.KeySubscribe},
		{"AddressConnect", &r.AddressConnect}, {"AddressPublish", &r.AddressPublish}, {"AddressSubscribe", &r.AddressSubscribe},
	}
}

// burstSeconds is how many seconds' worth of a rate may come at once.
const burstSeconds = 5

// throttles are a node's token buckets, by what is done; what a connection has
// done is with the connection.
type throttles [toPublish + 1]throttle

// throttle bounds one action.
type throttle struct {
	connection, key, address rate

	requests  *limiter // stands in for connections where there is none
	keys      *limiter
	addresses *limiter
}

func newThrottles(l *Limits) *throttles {
	perConnection := [...]int{toConnect: 0, toSubscribe: l.ConnectionSubscribe, toPublish: l.ConnectionPublish}
	perKey := [...]int{toConnect: l.KeyConnect, toSubscribe: l.KeySubscribe, toPublish: l.KeyPublish}
	perAddress := [...]int{toConnect: l.AddressConnect, toSubscribe: l.AddressSubscribe, toPublish: l.AddressPublish}
	t := &throttles{}
	for do := toConnect; do <= toPublish; do++ {
		t[do] = throttle{
			connection: steady(perConnection[do]), key: steady(perKey[do]), address: steady(perAddress[do]),
			requests: newLimiter(), keys: newLimiter(), addresses: newLimiter(),
		}
	}
	// A client that comes back subscribes to all its channels at once.
	t[toSubscribe].connection.allow(l.MaxChannels)
	return t
}

func steady(n int) rate { return perSecond(float64(n), n*burstSeconds) }

// throttled is the action that another one counts as.
func throttled(do action) action {
	if do == toReadHistory {
		return toSubscribe
	}
	return do
}

// shared spends what all connections of a key, an address and a project have in
// common.
func (s *Server) shared(who principal, do action, project *fsm.Project, address string) *Refusal {
	t := &s.throttles[do]
	if wait := t.keys.take(who.key, t.key); wait > 0 {
		return tooMany("with this key", wait)
	}
	if who.kind != serverKey {
		if wait := t.addresses.take(address, t.address); wait > 0 {
			return tooMany("from this address", wait)
		}
	}
	switch do {
	case toConnect:
		return s.quotas.connect(project)
	case toPublish:
		return s.quotas.publish(project)
	}
	return nil
}

func tooMany(of string, wait time.Duration) *Refusal {
	return &Refusal{Code: CodeRateLimited, Reason: "too much at once " + of, RetryAfter: max(wait, time.Millisecond)}
}

// publishMeters are what a connection that is not a backend's has published.
type publishMeters struct {
	all    meter
	grants map[string]meter // by pattern
}

// throttle refuses what the client does too often.
func (c *conn) throttle(who principal, do action, project *fsm.Project, channel string) *Refusal {
	s := c.loop.server
	t := &s.throttles[do]
	if who.kind != serverKey {
		wait := time.Duration(0)
		if do == toSubscribe {
			wait = c.subscribes.take(t.connection, c.loop.now)
		} else {
			wait = c.publishMeters().take(t.connection, who, project, channel, c.loop.now)
		}
		if wait > 0 {
			return tooMany("on this connection", wait).of(who, do, channel)
		}
	}
	if refusal := s.shared(who, do, project, c.peer.address); refusal != nil {
		return refusal.of(who, do, channel)
	}
	return nil
}

func (c *conn) publishMeters() *publishMeters {
	if c.publishes == nil {
		c.publishes = &publishMeters{}
	}
	return c.publishes
}

func (m *publishMeters) take(r rate, who principal, project *fsm.Project, channel string, now time.Duration) time.Duration {
	if wait := m.all.take(r, now); wait > 0 || who.kind != publicKey {
		return wait
	}
	grant, _ := project.Access.PublishGrant(channel)
	if grant.Rate == 0 {
		return 0
	}
	if m.grants == nil {
		m.grants = make(map[string]meter)
	}
	spent := m.grants[grant.Pattern]
	wait := spent.take(perSecond(grant.Rate, grant.Burst), now)
	m.grants[grant.Pattern] = spent
	return wait
}

// throttleRequest refuses what is done too often over HTTP.
func (s *Server) throttleRequest(who principal, do action, project *fsm.Project, channel, address string) *Refusal {
	t := &s.throttles[throttled(do)]
	if who.kind != serverKey {
		name := who.key + " " + address
		wait := t.requests.take(name, t.connection)
		if wait == 0 && do == toPublish && who.kind == publicKey {
			if grant, _ := project.Access.PublishGrant(channel); grant.Rate > 0 {
				wait = t.requests.take(name+" "+grant.Pattern, perSecond(grant.Rate, grant.Burst))
			}
		}
		if wait > 0 {
			return tooMany("from this address with this key", wait).of(who, do, channel)
		}
	}
	if refusal := s.shared(who, throttled(do), project, address); refusal != nil {
		return refusal.of(who, do, channel)
	}
	return nil
}

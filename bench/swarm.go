package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"
)

// swarm is any number of client connections, served by the goroutine that calls its
// methods. onEvent receives the events of its members in that goroutine.
//
// Each turn reads all sockets that are ready, lets the load do its part, and writes the
// output of each member at once.
type swarm struct {
	onEvent func(*member, Event)
	onLive  func(*member)        // it is logged in and subscribed
	onLost  func(*member, error) // a connection has ended that we did not end

	protocol  Protocol
	listener  Listener // nil where all members speak alike
	transport Transport
	servers   []endpoint
	members   []*member
	live      int   // members that are logged in and subscribed
	received  int64 // bytes
	failed    error
	now       time.Time // when what is being parsed was read

	poller   *poller
	happened []happened
	dirty    []*member // have something to say
	speaker  *member   // whose words are being parsed
	emit     func(Event)
	buffer   []byte
	scratch  []byte
	spares   [][]byte
}

// endpoint is a server in the form that a swarm dials.
type endpoint struct {
	address netip.AddrPort
	host    string
}

const readSize = 256 << 10

// newSwarm returns a swarm that loses no member: a lost one fails it until the
// load says otherwise in onLost.
func newSwarm(ctx context.Context, target Target) (*swarm, error) {
	s := &swarm{protocol: target.Protocol, buffer: make([]byte, readSize)}
	if s.protocol == nil {
		s.protocol = aptlyd(target)
	}
	s.listener, _ = s.protocol.(Listener)
	s.transport = s.protocol.Transport()
	s.emit = func(e Event) { s.hear(s.speaker, e) }
	s.onEvent = func(*member, Event) {}
	s.onLive = func(*member) {}
	s.onLost = func(_ *member, reason error) { s.failed = errors.Join(s.failed, reason) }
	for _, server := range target.Servers {
		e, err := resolve(ctx, server)
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", server, err)
		}
		s.servers = append(s.servers, e)
	}
	var err error
	if s.poller, err = newPoller(); err != nil {
		return nil, err
	}
	return s, nil
}

func resolve(ctx context.Context, server string) (endpoint, error) {
	u, err := url.Parse(server)
	if err != nil {
		return endpoint{}, err
	}
	port := u.Port()
	switch u.Scheme {
	case "ws", "http":
		if port == "" {
			port = "80"
		}
	case "tcp":
		if port == "" {
			return endpoint{}, errors.New("a port is needed")
		}
	default:
		return endpoint{}, fmt.Errorf("scheme %q: this kind of load speaks plain ws only", u.Scheme)
	}
	address, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return endpoint{}, err
	}
	if err := ctx.Err(); err != nil {
		return endpoint{}, err
	}
	to := address.AddrPort()
	return endpoint{address: netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), host: u.Host}, nil
}

// perSource is the number of connections that share one loopback address, since one address
// has too few ports.
const perSource = 15000

var loopbackDials atomic.Uint32

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// loopbackSource returns the address to connect to loopback from. The first one
// is what the system chooses by itself.
func loopbackSource() netip.Addr {
	n := loopbackDials.Add(1) / perSource % 250
	if n == 0 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + n)})
}

// close ends all connections.
func (s *swarm) close() error {
	for _, m := range s.members {
		s.hangUp(m)
	}
	return errors.Join(s.failed, s.poller.close())
}

// add makes a member that is not connected yet.
func (s *swarm) add(p placement) *member {
	m := &member{placement: p, number: len(s.members), fd: -1, phase: phaseGone}
	s.members = append(s.members, m)
	return m
}

// connect opens members, no more than inFlight at a time, until all are live.
func (s *swarm) connect(ctx context.Context, members []*member, inFlight int) error {
	began, before := 0, s.live
	err := s.serve(ctx, time.Now().Add(connectTimeout), func() (time.Time, bool) {
		for began < len(members) && began-(s.live-before) < inFlight {
			if s.failed = s.open(members[began]); s.failed != nil {
				break
			}
			began++
		}
		return time.Time{}, s.live-before == len(members)
	})
	if err != nil {
		return fmt.Errorf("connect %d clients, of which %d are live: %w", len(members), s.live-before, err)
	}
	return nil
}

// connectTimeout bounds the time until all members of a load are live.
const connectTimeout = 2 * time.Minute

// errTimeout says that a condition did not come about in time.
var errTimeout = errors.New("timed out")

// serve takes turns until the load's part of a turn returns done. That part returns the
// latest time of its next turn; the zero time means after the next event. serve fails with
// errTimeout at the deadline.
func (s *swarm) serve(ctx context.Context, deadline time.Time, turn func() (next time.Time, done bool)) error {
	const breath = 50 * time.Millisecond // between looks at ctx
	for {
		next, done := turn()
		s.flushAll()
		switch now := time.Now(); {
		case s.failed != nil:
			failed := s.failed
			s.failed = nil
			return failed
		case done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case now.After(deadline):
			return errTimeout
		case next.IsZero() || next.After(now.Add(breath)):
			next = now.Add(breath)
		}
		if err := s.listen(next); err != nil {
			return err
		}
	}
}

// rest serves the members for a while without any load.
func (s *swarm) rest(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return s.serve(ctx, end.Add(time.Hour), func() (time.Time, bool) { return end, !time.Now().Before(end) })
}

// listen reads and writes what is ready, or becomes so until the given time.
func (s *swarm) listen(until time.Time) (err error) {
	if s.happened, err = s.poller.wait(until, s.happened[:0]); err != nil {
		return err
	}
	for _, h := range s.happened {
		m := s.members[h.slot]
		if h.writable && m.phase != phaseGone && m.blocked {
			s.writable(m)
		}
		if h.readable && m.phase != phaseGone {
			s.readSome(m, readSize)
		}
	}
	return nil
}

func (s *swarm) flushAll() {
	for _, m := range s.dirty {
		s.flush(m)
	}
	clear(s.dirty)
	s.dirty = s.dirty[:0]
}

// hear handles an event of a member.
func (s *swarm) hear(m *member, e Event) {
	if m.phase == phaseGone {
		return
	}
	switch e.Kind {
	case Ping:
		s.send(m, e.Data)
		return
	case Ready:
		if m.phase != phaseLive {
			s.advance(m)
		}
	case Refused:
		if m.phase != phaseLive {
			s.lose(m, fmt.Errorf("refused: %s", e.Data))
			return
		}
	}
	s.onEvent(m, e)
}

const (
	spareSize = 4 << 10
	maxSpares = 1024
)

// spareBuffer returns an empty buffer: the one given, if it is one.
func (s *swarm) spareBuffer(have []byte) []byte {
	if have != nil {
		return have
	}
	if n := len(s.spares); n > 0 {
		b := s.spares[n-1]
		s.spares = s.spares[:n-1]
		return b
	}
	return make([]byte, 0, spareSize)
}

// recycle takes a buffer back and returns nil.
func (s *swarm) recycle(b []byte) []byte {
	if b != nil && cap(b) <= flushed && len(s.spares) < maxSpares {
		s.spares = append(s.spares, b[:0])
	}
	return nil
}

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// phase is the progress of a member.
type phase int8

const (
	phaseUpgrading phase = iota
	phaseLogin
	phaseSubscribing
	phaseLive
	phaseGone
)

// placement is the server and the channel of a member.
type placement struct {
	server  int
	channel string   // to subscribe to; empty for none
	after   Position // where it resumes
	receive int      // size of the receive buffer in bytes; 0 is the system's choice
}

// member is one connection of a swarm. It holds buffers only while something is
// half read or half written.
type member struct {
	placement
	number  int
	fd      int
	phase   phase
	paused  bool // reads only when told to
	blocked bool // the socket took less than it was given
	began   time.Time

	unread   []byte // part of a frame
	unparsed []byte // part of a message in a stream
	unsent   []byte
}

// flushed are the bytes that a member saves up before it writes in mid-turn.
const flushed = 64 << 10

// open begins the connection of a member and says the first words.
func (s *swarm) open(m *member) error {
	server := s.servers[m.server]
	var local netip.Addr
	if server.address.Addr() == loopback {
		local = loopbackSource()
	}
	fd, err := s.poller.dial(server.address, local, m.receive)
	if err != nil {
		return fmt.Errorf("member %d: %w", m.number, err)
	}
	m.fd, m.began, m.paused, m.blocked = fd, time.Now(), false, false
	if err := s.greet(m, server.host); err != nil {
		m.phase = phaseGone
		return errors.Join(fmt.Errorf("member %d: %w", m.number, err), s.poller.hangUp(fd))
	}
	return nil
}

// greet says the first words. On the loopback network a connection has come
// about as soon as it was asked for, and need not be waited for.
func (s *swarm) greet(m *member, host string) error {
	first := s.scratch[:0]
	if s.listens(m) {
		m.phase, first = phaseSubscribing, s.listener.AppendListen(first, host, m.channel, m.after)
	} else if s.transport.WebSocket {
		m.phase, first = phaseUpgrading, appendUpgrade(first, s.transport.Path, host)
	} else {
		m.phase, first = phaseLogin, s.protocol.AppendLogin(first, m.number)
	}
	s.scratch = first
	n, err := s.poller.write(m.fd, first)
	if err != nil && !errors.Is(err, errAgain) {
		return fmt.Errorf("connect: %w", err)
	}
	if first = first[max(n, 0):]; len(first) > 0 {
		m.blocked, m.unsent = true, append(s.spareBuffer(m.unsent), first...)
	}
	return s.poller.add(m.fd, m.number, true, m.blocked)
}

func (s *swarm) login(m *member) {
	m.phase = phaseLogin
	s.scratch = s.protocol.AppendLogin(s.scratch[:0], m.number)
	s.send(m, s.scratch)
}

// send queues one message; it leaves at the end of the turn, with all others of
// that turn.
func (s *swarm) send(m *member, message []byte) {
	if m.phase == phaseGone {
		return
	}
	if len(m.unsent) == 0 {
		m.unsent = s.spareBuffer(m.unsent)
		s.dirty = append(s.dirty, m)
	}
	switch {
	case !s.transport.WebSocket, s.listens(m):
		m.unsent = append(m.unsent, message...)
	case s.transport.Binary:
		m.unsent = appendFrame(m.unsent, opBinary, message)
	default:
		m.unsent = appendFrame(m.unsent, opText, message)
	}
	if len(m.unsent) >= flushed && !m.blocked {
		s.flush(m)
	}
}

// flush writes what a member has to say, as far as the socket takes it.
func (s *swarm) flush(m *member) {
	if m.phase == phaseGone || m.blocked || len(m.unsent) == 0 {
		return
	}
	n, err := s.poller.write(m.fd, m.unsent)
	if err != nil && !errors.Is(err, errAgain) {
		s.lose(m, fmt.Errorf("write: %w", err))
		return
	}
	m.unsent = m.unsent[:copy(m.unsent, m.unsent[max(n, 0):])]
	if len(m.unsent) == 0 {
		m.unsent = s.recycle(m.unsent)
		return
	}
	m.blocked = true
	if err := s.poller.watch(m.fd, m.number, !m.paused, true); err != nil {
		s.lose(m, err)
	}
}

// writable goes on where the socket was full.
func (s *swarm) writable(m *member) {
	m.blocked = false
	if err := s.poller.watch(m.fd, m.number, !m.paused, false); err != nil {
		s.lose(m, err)
		return
	}
	s.flush(m)
}

// pause makes a member deaf until resume; readSome still reads.
func (s *swarm) pause(m *member, paused bool) {
	m.paused = paused
	if m.phase == phaseGone {
		return
	}
	if err := s.poller.watch(m.fd, m.number, !paused, m.blocked); err != nil {
		s.lose(m, err)
	}
}

// readSome reads up to limit bytes and passes on what is complete.
func (s *swarm) readSome(m *member, limit int) {
	kept := copy(s.buffer, m.unread)
	if kept == len(s.buffer) {
		s.buffer = append(s.buffer, make([]byte, len(s.buffer))...)
	}
	n, err := s.poller.read(m.fd, s.buffer[kept:min(kept+limit, len(s.buffer))])
	s.now = time.Now()
	switch {
	case errors.Is(err, errAgain):
		return
	case err != nil:
		s.lose(m, fmt.Errorf("read: %w", err))
		return
	case n == 0:
		s.lose(m, errors.New("closed by the server without a word"))
		return
	}
	s.received += int64(n)
	data := s.buffer[:kept+n]
	used, err := s.take(m, data)
	if err != nil {
		s.lose(m, err)
		return
	}
	if m.phase == phaseGone {
		return
	}
	if used == len(data) {
		m.unread = s.recycle(m.unread)
		return
	}
	m.unread = append(s.spareBuffer(m.unread)[:0], data[used:]...)
}

// take passes on what is complete in data and returns how much that was.
func (s *swarm) take(m *member, data []byte) (used int, err error) {
	if s.listens(m) {
		s.speaker = m
		return s.listener.ParseListen(data, s.emit)
	}
	if !s.transport.WebSocket {
		s.speaker = m
		return s.protocol.Parse(data, s.emit)
	}
	if m.phase == phaseUpgrading {
		if used, err = parseUpgrade(data); used == 0 || err != nil {
			return used, err
		}
		s.login(m)
	}
	for m.phase != phaseGone {
		f, n, err := parseFrame(data[used:])
		if err != nil {
			return used, err
		}
		if n == 0 {
			break
		}
		used += n
		if err := s.takeFrame(m, f); err != nil {
			return used, err
		}
	}
	return used, nil
}

func (s *swarm) takeFrame(m *member, f frame) error {
	switch f.opcode {
	case opPing:
		s.pong(m, f.payload)
		return nil
	case opPong:
		return nil
	case opClose:
		return closeReason(f.payload)
	case opText, opBinary, opContinuation:
		s.speaker = m
		if s.transport.Stream {
			return s.takeStream(m, f.payload)
		}
		if !f.final || f.opcode == opContinuation {
			return errors.New("frame: messages in pieces are not expected")
		}
		_, err := s.protocol.Parse(f.payload, s.emit)
		return err
	}
	return fmt.Errorf("frame: unknown opcode %#x", f.opcode)
}

// takeStream joins a stream that was cut into frames.
func (s *swarm) takeStream(m *member, piece []byte) error {
	data := piece
	if len(m.unparsed) > 0 {
		m.unparsed = append(m.unparsed, piece...)
		data = m.unparsed
	}
	used, err := s.protocol.Parse(data, s.emit)
	if err != nil || m.phase == phaseGone {
		return err
	}
	if used == len(data) {
		m.unparsed = s.recycle(m.unparsed)
		return nil
	}
	if len(m.unparsed) == 0 {
		m.unparsed = s.spareBuffer(m.unparsed)
	}
	m.unparsed = append(m.unparsed[:0], data[used:]...)
	return nil
}

func (s *swarm) pong(m *member, payload []byte) {
	if len(m.unsent) == 0 {
		m.unsent = s.spareBuffer(m.unsent)
		s.dirty = append(s.dirty, m)
	}
	m.unsent = appendFrame(m.unsent, opPong, payload)
}

// advance takes a member a step further: its login or subscription is done.
func (s *swarm) advance(m *member) {
	if m.phase == phaseLogin && m.channel != "" {
		m.phase = phaseSubscribing
		s.scratch = s.protocol.AppendSubscribe(s.scratch[:0], m.number, m.channel, m.after)
		s.send(m, s.scratch)
		return
	}
	m.phase = phaseLive
	s.live++
	s.onLive(m)
}

// lose ends a member's connection.
func (s *swarm) lose(m *member, reason error) {
	if m.phase == phaseGone {
		return
	}
	s.hangUp(m)
	s.onLost(m, fmt.Errorf("member %d: %w", m.number, reason))
}

func (s *swarm) hangUp(m *member) {
	if m.phase == phaseGone {
		return
	}
	if m.phase == phaseLive {
		s.live--
	}
	m.phase = phaseGone
	if err := s.poller.hangUp(m.fd); err != nil {
		s.failed = errors.Join(s.failed, fmt.Errorf("close socket: %w", err))
	}
	m.fd = -1
	m.unread, m.unparsed, m.unsent = s.recycle(m.unread), s.recycle(m.unparsed), s.recycle(m.unsent)
}

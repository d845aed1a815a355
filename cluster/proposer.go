package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/internal/boottime"
)

// raftProposer is the part of Raft that a proposer uses.
type raftProposer interface {
	Apply(command []byte, timeout time.Duration) raft.ApplyFuture
}

// proposer is the leader's side of submitting: it joins batches from the forwarders of
// all nodes into entries. While some entries are on their way the next gathers.
type proposer struct {
	cfg     Config
	raft    raftProposer
	machine Machine
	// committed is told each entry that this leader saw applied, and whether
	// another is on its way behind it.
	committed func(index, term uint64, more bool)
	// featureLevel is the cluster's, as far as this node knows.
	featureLevel func() uint32
	now          func() time.Time
	stamps       stamper

	wake     chan struct{}
	inFlight atomic.Int32  // entries
	level    atomic.Uint32 // the highest feature level that the cluster surely has

	mu    sync.Mutex
	state proposerState
	queue []queued
	bytes int
}

type proposerState int

const (
	proposerClosed    proposerState = iota // not the leader: refuse
	proposerGathering                      // elected, not sure of its state yet: hold
	proposerOpen
)

// queued is a batch that waits for its entry.
type queued struct {
	raw   []byte
	size  int // bytes once it is not compressed any more
	reply func(outcome, error)
}

const (
	// proposerBytes bounds what waits on the leader.
	proposerBytes = 64 << 20
	// enqueueTimeout bounds the time that Raft takes to accept an entry into its queue.
	enqueueTimeout = 10 * time.Second
	// tickInterval is the longest time between two stamps.
	tickInterval = time.Second
)

func newProposer(
	cfg Config, raft raftProposer, machine Machine, wall func() int64, level func() uint32,
	committed func(index, term uint64, more bool),
) *proposer {
	return &proposer{
		cfg: cfg, raft: raft, machine: machine, featureLevel: level, committed: committed,
		now: time.Now, stamps: stamper{wall: wall, boot: boottime.SinceStart}, wake: make(chan struct{}, 1),
	}
}

// check reports why a command of this node must not enter the log.
func (s *proposer) check(command []byte) error { return s.checkFrom(command, false) }

// checkForeign is check for a command of another node.
func (s *proposer) checkForeign(command []byte) error { return s.checkFrom(command, true) }

func (s *proposer) checkFrom(command []byte, foreign bool) error {
	level, err := s.machine.Check(command, foreign)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidCommand, err)
	}
	if !s.atLevel(level) {
		return fmt.Errorf("%w: %d", ErrFeatureLevel, level)
	}
	return nil
}

// atLevel reports whether the cluster surely has a feature level. It never falls.
func (s *proposer) atLevel(level uint32) bool {
	if level <= s.level.Load() {
		return true
	}
	known := max(s.machine.Level(), s.featureLevel())
	s.level.Store(known)
	return level <= known
}

// submit takes an encoded batch. It never blocks; reply is called exactly once,
// from another goroutine.
func (s *proposer) submit(raw []byte, reply func(outcome, error)) { s.take(raw, s.check, reply) }

// submitForeign is submit for a batch of another node.
func (s *proposer) submitForeign(raw []byte, reply func(outcome, error)) {
	s.take(raw, s.checkForeign, reply)
}

func (s *proposer) take(raw []byte, check func([]byte) error, reply func(outcome, error)) {
	size, compressed, err := checkBatch(raw, check)
	if err == nil && compressed && !s.atLevel(compressionLevel) {
		err = fmt.Errorf("%w: %d", ErrFeatureLevel, compressionLevel)
	}
	if err != nil {
		go reply(outcome{}, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == proposerClosed:
		go reply(outcome{}, ErrNotLeader)
	case s.bytes+size > proposerBytes:
		go reply(outcome{}, ErrOverloaded)
	default:
		s.queue = append(s.queue, queued{raw, size, reply})
		s.bytes += size
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *proposer) set(state proposerState) {
	s.mu.Lock()
	s.state = state
	s.mu.Unlock()
}

// gather takes as many batches as fit an entry.
func (s *proposer) gather() []queued {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, n := 0, 0
	for n < len(s.queue) && (n == 0 || size+s.queue[n].size <= s.cfg.BatchBytes) {
		size += s.queue[n].size
		n++
	}
	batches := s.queue[:n:n]
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
	s.bytes -= size
	return batches
}

// waiting reports whether a batch waits for an entry.
func (s *proposer) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0
}

// lead proposes entries until ctx ends. ready returns once everything that was
// committed before is applied here: only then is the last stamp known.
func (s *proposer) lead(ctx context.Context, ready func(context.Context) error) {
	s.set(proposerGathering)
	defer s.refuse()
	if ready(ctx) != nil {
		return
	}
	s.set(proposerOpen)

	landed := make(chan struct{}, s.cfg.EntryWindow)
	stamp := s.machine.Stamp()
	s.stamps.begin(stamp)
	lastProposed := s.now()
	timer := time.NewTimer(tickInterval)
	defer timer.Stop()
	for {
		now := s.now()
		for int(s.inFlight.Load()) < s.cfg.EntryWindow {
			batches := s.gather()
			if len(batches) == 0 && !s.tickDue(now, lastProposed, stamp) {
				break
			}
			stamp = s.stamps.next()
			lastProposed = now
			s.propose(batches, stamp, landed)
		}
		timer.Reset(s.untilTick(now, lastProposed, stamp))
		select {
		case <-s.wake:
		case <-timer.C:
		case <-landed:
		case <-ctx.Done():
			return
		}
	}
}

// tickDue reports whether an entry is wanted for its stamp alone.
func (s *proposer) tickDue(now, lastProposed time.Time, stamp int64) bool {
	if now.Sub(lastProposed) >= tickInterval {
		return true
	}
	deadline := s.machine.Deadline()
	return deadline != 0 && deadline > stamp && s.stamps.next() >= deadline
}

func (s *proposer) untilTick(now, lastProposed time.Time, stamp int64) time.Duration {
	wait := tickInterval - now.Sub(lastProposed)
	if deadline := s.machine.Deadline(); deadline > stamp {
		wait = min(wait, time.Duration(deadline-s.stamps.next())*time.Millisecond)
	}
	return max(wait, time.Millisecond)
}

// propose puts one entry into Raft's queue. A goroutine waits for its
// future and answers its batches, also when this node no longer leads by then.
func (s *proposer) propose(batches []queued, stamp int64, landed chan<- struct{}) {
	raws := make([][]byte, len(batches))
	for i, b := range batches {
		raws[i] = b.raw
	}
	s.inFlight.Add(1)
	future := s.raft.Apply(encodeEntry(stamp, raws), enqueueTimeout)
	go func() {
		err := future.Error()
		more := s.inFlight.Add(-1) > 0 || s.waiting()
		s.land(batches, future, err, more)
		select {
		case landed <- struct{}{}:
		default: // lead looks again already
		}
	}()
}

// land answers the batches of an entry.
func (s *proposer) land(batches []queued, future raft.ApplyFuture, err error, more bool) {
	var answer *applied
	if err == nil {
		answer, _ = future.Response().(*applied)
	}
	if answer != nil {
		s.committed(future.Index(), answer.term, more)
	}
	for i, b := range batches {
		switch {
		case err != nil:
			b.reply(outcome{}, proposalError(err))
		case answer == nil || i >= len(answer.outcomes):
			b.reply(outcome{}, peer.ErrUncertain)
		default:
			b.reply(answer.outcomes[i], nil)
		}
	}
}

// proposalError translates an error of Raft for a forwarder. Unless Raft is sure that it
// did nothing, the outcome is uncertain.
func proposalError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	default:
		return peer.ErrUncertain
	}
}

// refuse answers everything that has not been proposed.
func (s *proposer) refuse() {
	s.mu.Lock()
	s.state = proposerClosed
	queue := s.queue
	s.queue, s.bytes = nil, 0
	s.mu.Unlock()
	for _, b := range queue {
		b.reply(outcome{}, ErrNotLeader)
	}
}

// localLink links the forwarder on the leader itself to the proposer.
type localLink struct {
	proposer *proposer
	self     string
}

func (l localLink) to() string { return l.self }

func (l localLink) send(raw []byte, done func(outcome, error)) error {
	l.proposer.submit(raw, done)
	return nil
}

// remoteLink links a forwarder to a leader elsewhere.
type remoteLink struct{ client *peer.Client }

func (l remoteLink) to() string { return l.client.Conn.Peer }

func (l remoteLink) send(raw []byte, done func(outcome, error)) error {
	_, err := l.client.Send(peer.MethodSubmit, raw, func(b []byte, err error) {
		if err != nil {
			done(outcome{}, err)
			return
		}
		done(decodeOutcome(b))
	})
	return err
}

package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/internal/repeat"
)

// Result is the fate of one command.
type Result struct {
	// Data is the machine's answer.
	Data []byte
	// Index is that of the log entry with the command.
	Index uint64
	// Err is ErrUnavailable, ErrOutcomeUnknown, ErrOverloaded, ErrTooLarge,
	// ErrInvalidCommand or ErrClosed.
	Err error
}

// submission is one command that waits for its result.
type submission struct {
	command  []byte
	deadline time.Time
	place    int               // in what was submitted together
	done     func(int, Result) // nil once called
}

// submissionOverhead is roughly the bytes of a submission besides its command.
const submissionOverhead = 128

// completion is a result that is delivered once the lock is released.
type completion struct {
	done   func(int, Result)
	place  int
	result Result
}

func complete(all []completion) {
	for _, s := range all {
		s.done(s.place, s.result)
	}
}

// inflightBatch is a numbered batch on its way.
type inflightBatch struct {
	seq         uint64
	raw         []byte
	submissions []*submission
	// open counts its sends that may still take effect. Only a leader that
	// says it did nothing takes one back.
	open int
	// round in which it was sent last; 0 when it must be sent.
	round uint64
}

// leaderLink sends batches to the leader, in order.
type leaderLink interface {
	// send takes a batch without blocking and calls done exactly once, from
	// another goroutine, unless it returns an error: then nothing was sent.
	send(raw []byte, done func(outcome, error)) error
	// to returns the id of the node at the other end.
	to() string
}

// forwarder brings this node's commands to the leader, in order and each exactly once. It
// numbers batches. Batches left open by a lost connection or leader are sent again under
// the same numbers, and the state knows which it has seen.
type forwarder struct {
	cfg Config
	// connect returns a link to the present leader. It may block for a dial.
	connect func(ctx context.Context) (leaderLink, error)
	// check reports why a command must not enter the log.
	check func(command []byte) error

	wake    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	encoder  *batchEncoder
	queue    []*submission
	bytes    int // of submissions queued and on their way
	session  Session
	seq      uint64           // last number given
	inflight []*inflightBatch // on their way, ascending
	// round counts how often everything had to be sent again. An error of an
	// earlier round says nothing about the present one.
	round   uint64
	link    leaderLink
	linking bool
	retry   context.CancelFunc // ends the attempt to connect that is under way
	leader  string             // id of the newest leader heard of; "" before any
	// stumbled: the last link failed, so the next one is not hurried.
	stumbled bool
}

// reconnectPause is the pause before a leader is looked for again.
const reconnectPause = 20 * time.Millisecond

func newForwarder(
	cfg Config, connect func(context.Context) (leaderLink, error), check func(command []byte) error,
	encoder *batchEncoder,
) *forwarder {
	ctx, cancel := context.WithCancel(context.Background())
	f := &forwarder{
		cfg: cfg, connect: connect, check: check, encoder: encoder, wake: make(chan struct{}, 1),
		ctx: ctx, cancel: cancel, round: 1,
	}
	f.renewSession()
	f.running.Go(f.run)
	f.running.Go(f.expireLoop)
	return f
}

func (f *forwarder) renewSession() {
	rand.Read(f.session[:])
	f.seq = 0
}

// submit takes commands; see Cluster.Submit.
func (f *forwarder) submit(commands [][]byte, done func(int, Result)) {
	var refused []completion
	refuse := func(place int, err error) { refused = append(refused, completion{done, place, Result{Err: err}}) }
	submissions := make([]submission, len(commands))
	deadline := time.Now().Add(f.cfg.SubmitTimeout - f.tick())
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, command := range commands {
		switch {
		case f.closed:
			refuse(i, ErrClosed)
		case len(command) > f.cfg.MaxCommandBytes:
			refuse(i, ErrTooLarge)
		case f.bytes+len(command)+submissionOverhead > f.cfg.QueueBytes:
			refuse(i, ErrOverloaded)
		default:
			f.bytes += len(command) + submissionOverhead
			submissions[i] = submission{command: command, deadline: deadline, place: i, done: done}
			f.queue = append(f.queue, &submissions[i])
		}
	}
	if len(refused) < len(commands) {
		f.rouse()
	}
	if len(refused) == 0 {
		return
	}
	if f.closed {
		go complete(refused)
	} else {
		f.running.Go(func() { complete(refused) })
	}
}

// rouse makes run look again.
func (f *forwarder) rouse() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run sends all that waits whenever something changes.
func (f *forwarder) run() {
	for {
		select {
		case <-f.wake:
			f.mu.Lock()
			f.advance()
			f.mu.Unlock()
		case <-f.ctx.Done():
			return
		}
	}
}

// advance sends batches that must be sent again, then new ones while the window has
// room. f.mu is held.
func (f *forwarder) advance() {
	if len(f.inflight) == 0 && len(f.queue) == 0 {
		return
	}
	if f.link == nil {
		if !f.linking {
			f.linking = true
			f.running.Go(f.relink)
		}
		return
	}
	for _, p := range f.inflight {
		if p.round == 0 && !f.dispatch(p) {
			return
		}
	}
	for len(f.inflight) < f.cfg.ForwardWindow && len(f.queue) > 0 {
		p := f.pack()
		f.inflight = append(f.inflight, p)
		if !f.dispatch(p) {
			return
		}
	}
}

// pack numbers as many commands as fit one batch. f.mu is held.
func (f *forwarder) pack() *inflightBatch {
	size, n := 0, 0
	for n < len(f.queue) && (n == 0 || size+len(f.queue[n].command) <= f.cfg.BatchBytes) {
		size += len(f.queue[n].command)
		n++
	}
	p := &inflightBatch{submissions: make([]*submission, n)}
	copy(p.submissions, f.queue)
	clear(f.queue[:n])
	f.queue = f.queue[n:]
	if len(f.queue) == 0 {
		f.queue = nil
	}
	f.seq++
	p.seq = f.seq
	f.encode(p)
	return p
}

// encode makes the bytes of a batch. Commands that were withdrawn leave their places
// to one without effect, so that the results of an earlier send still fit. f.mu is held.
func (f *forwarder) encode(p *inflightBatch) {
	commands := make([][]byte, 0, len(p.submissions))
	live := false
	for _, s := range p.submissions {
		if s.done == nil {
			commands = append(commands, f.cfg.Nothing)
			continue
		}
		commands, live = append(commands, s.command), true
	}
	if !live {
		commands = commands[:1] // no caller waits for a result
	}
	p.raw = f.encoder.encode(batch{session: f.session, seq: p.seq, acked: f.lowest() - 1, commands: commands})
}

// lowest returns the first number without a result. f.mu is held.
func (f *forwarder) lowest() uint64 {
	if len(f.inflight) > 0 {
		return f.inflight[0].seq
	}
	return f.seq
}

// dispatch sends one batch; false means that the link is gone. f.mu is held.
func (f *forwarder) dispatch(p *inflightBatch) bool {
	round, session := f.round, f.session
	p.open++
	p.round = round
	err := f.link.send(p.raw, func(o outcome, err error) { f.resolve(session, p, round, o, err) })
	if err != nil {
		p.open--
		f.startOver()
		return false
	}
	return true
}

// resolve takes the leader's answer to one send.
func (f *forwarder) resolve(session Session, p *inflightBatch, round uint64, o outcome, err error) {
	f.mu.Lock()
	if definite(err) {
		p.open--
	}
	var finished []completion
	switch {
	case session != f.session || f.closed:
	case err == nil && o.results != nil:
		finished = f.deliver(p, o)
	case round != f.round:
	case errors.Is(err, ErrInvalidCommand):
		finished = f.reject(p, err)
	case err == nil && len(f.inflight) > 0 && o.next < f.inflight[0].seq:
		// The state asks for a number whose result is here already, so it has
		// forgotten the session.
		finished = f.abandon(fmt.Errorf("%w: the forwarder's session ended", ErrOutcomeUnknown))
	case err == nil:
		f.resend()
	default:
		f.startOver()
	}
	f.rouse()
	f.mu.Unlock()
	complete(finished)
}

// deliver removes a batch and returns what to tell its submitters.
// f.mu is held.
func (f *forwarder) deliver(p *inflightBatch, o outcome) (finished []completion) {
	at := -1
	for i := range f.inflight {
		if f.inflight[i] == p {
			at = i
		}
	}
	if at < 0 {
		return nil // an earlier send of it was answered already
	}
	f.inflight = append(f.inflight[:at], f.inflight[at+1:]...)
	finished = make([]completion, 0, len(p.submissions))
	for i, s := range p.submissions {
		if i < len(o.results) {
			finished = f.finish(finished, s, Result{Data: o.results[i], Index: o.index})
		} else {
			finished = f.finish(finished, s, Result{Err: fmt.Errorf("%w: the leader's answer is short", ErrOutcomeUnknown)})
		}
	}
	return finished
}

// finish settles one submission. f.mu is held.
func (f *forwarder) finish(finished []completion, s *submission, r Result) []completion {
	if s.done == nil {
		return finished
	}
	finished = append(finished, completion{s.done, s.place, r})
	f.bytes -= len(s.command) + submissionOverhead
	s.done, s.command = nil, nil
	return finished
}

// startOver drops the link; everything is sent again over the next one.
// f.mu is held.
func (f *forwarder) startOver() {
	f.link, f.stumbled = nil, true
	f.resend()
	f.rouse()
}

// resend has every batch sent again, in order. f.mu is held.
func (f *forwarder) resend() {
	f.round++
	for _, p := range f.inflight {
		p.round = 0
	}
}

// abandon gives up the session and all that is on its way in it. f.mu is held.
func (f *forwarder) abandon(err error) (finished []completion) {
	for _, p := range f.inflight {
		for _, s := range p.submissions {
			finished = f.finish(finished, s, Result{Err: err})
		}
	}
	f.inflight = nil
	f.round++
	f.renewSession()
	return finished
}

// follow turns to a new leader. The link to the old one may look as well as ever
// while the node behind it hangs or is cut off, so nothing waits for its answer.
func (f *forwarder) follow(leader string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if leader == f.leader {
		return
	}
	f.leader = leader
	if f.retry != nil {
		f.retry()
	}
	if f.link != nil && f.link.to() != leader {
		f.startOver()
	}
}

// relink looks for the leader until there is one.
func (f *forwarder) relink() {
	f.mu.Lock()
	pause := f.stumbled
	f.stumbled = false
	f.mu.Unlock()
	for f.ctx.Err() == nil {
		if pause {
			select {
			case <-time.After(reconnectPause):
			case <-f.ctx.Done():
			}
		}
		ctx, cancel := context.WithCancel(f.ctx)
		f.mu.Lock()
		f.retry = cancel
		f.mu.Unlock()
		link, err := f.connect(ctx)
		f.mu.Lock()
		cancel()
		f.retry = nil
		if err == nil && f.leader != "" && link.to() != f.leader {
			link, err = nil, ErrNotLeader // another one has been elected meanwhile
		}
		idle := len(f.inflight) == 0 && len(f.queue) == 0
		if err == nil || idle {
			f.link, f.linking = link, false
			f.rouse()
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		pause = true
	}
}

// tick returns how often deadlines are checked.
func (f *forwarder) tick() time.Duration { return max(f.cfg.SubmitTimeout/50, time.Millisecond) }

func (f *forwarder) expireLoop() {
	for now := range repeat.Every(f.ctx, f.tick()) {
		f.expire(now)
	}
}

// expire settles the commands whose time is over, and withdraws them. A command whose
// client has its answer must not happen an hour later: the client may have sent it
// elsewhere or have lost its key. The batch stays on its way without it, since later
// numbers depend on it.
func (f *forwarder) expire(now time.Time) {
	f.mu.Lock()
	if f.link == nil {
		f.unpack()
	}
	var finished []completion
	for _, p := range f.inflight {
		before := len(finished)
		why := ErrOutcomeUnknown
		if p.open == 0 {
			why = ErrUnavailable // no send of it is left that could take effect
		}
		for _, s := range p.submissions {
			if now.After(s.deadline) {
				finished = f.finish(finished, s, Result{Err: why})
			}
		}
		if len(finished) > before {
			f.encode(p)
		}
	}
	if len(finished) > 0 && f.link != nil {
		f.startOver() // a link that brings no answer is no link
	}
	n := 0
	for n < len(f.queue) && now.After(f.queue[n].deadline) {
		finished = f.finish(finished, f.queue[n], Result{Err: ErrUnavailable})
		n++
	}
	f.queue = f.queue[n:]
	f.mu.Unlock()
	complete(finished)
}

// unpack takes back the newest numbers that surely had no effect. Their commands wait
// again as if they had never left. f.mu is held.
func (f *forwarder) unpack() {
	for n := len(f.inflight); n > 0 && f.inflight[n-1].open == 0; n-- {
		p := f.inflight[n-1]
		var back []*submission
		for _, s := range p.submissions {
			if s.done != nil {
				back = append(back, s)
			}
		}
		f.queue = append(back, f.queue...)
		f.inflight = f.inflight[:n-1]
		f.seq--
	}
}

// close settles everything that waits.
func (f *forwarder) close() {
	f.cancel()
	f.mu.Lock()
	f.closed = true
	var finished []completion
	for _, p := range f.inflight {
		for _, s := range p.submissions {
			finished = f.finish(finished, s, Result{Err: fmt.Errorf("%w: %w", ErrOutcomeUnknown, ErrClosed)})
		}
	}
	for _, s := range f.queue {
		finished = f.finish(finished, s, Result{Err: fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)})
	}
	f.inflight, f.queue = nil, nil
	f.mu.Unlock()
	complete(finished)
	f.running.Wait()
}

package node

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

const (
	announceTimeout = time.Second
	// announcePause is how long to wait before a peer that failed is told again.
	announcePause = 100 * time.Millisecond
)

// announcer tells the other nodes to which memory channels this one attends.
type announcer struct {
	hasSubscribers func(fsm.ChannelKey) bool // has the channel subscribers here?
	subscribed     func() []fsm.ChannelKey
	transient      func(fsm.ChannelKey) bool // is it a memory channel?
	tell           func(ctx context.Context, peer string, change interestChange) (interestAnswer, error)

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	rules   chan struct{} // holds a token when rules may have changed

	mu     sync.Mutex
	wanted map[fsm.ChannelKey]struct{}
	links  map[string]*peerLink
}

// peerLink is the way to one peer.
type peerLink struct {
	peer   string
	wake   chan struct{}
	cancel context.CancelFunc

	epoch, number uint64 // of the last change; number 0: an epoch is to begin
	known         bool   // the peer knows all channels, but for the pending
	// pending are the channels to be told. Whether one is added or removed is
	// looked up when it leaves.
	pending []fsm.ChannelKey
	queued  uint64    // how many were ever put into pending
	settled uint64    // how many of these the peer surely knows
	broken  time.Time // since when it has not answered; zero: it does
	waiting []waiter
}

// waiter is an arrival that one link delays.
type waiter struct {
	upTo    uint64
	barrier *barrier
}

// barrier happens when no link delays it any more.
type barrier struct {
	open int
	then func()
}

func newAnnouncer(attends func(fsm.ChannelKey) bool, attended func() []fsm.ChannelKey, transient func(fsm.ChannelKey) bool,
	tell func(context.Context, string, interestChange) (interestAnswer, error),
) *announcer {
	ctx, cancel := context.WithCancel(context.Background())
	return &announcer{
		hasSubscribers: attends, subscribed: attended, transient: transient, tell: tell,
		ctx: ctx, cancel: cancel, rules: make(chan struct{}, 1),
		wanted: make(map[fsm.ChannelKey]struct{}), links: make(map[string]*peerLink),
	}
}

// add has the peers told of those channels that are memory channels; see
// gateway.Broker. A peer that has not answered for interestAge is not waited
// for: it has forgotten what it knew and sends everything, if it can.
func (a *announcer) add(channels []fsm.ChannelKey, then func()) (waits bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	concerned := false
	for _, channel := range channels {
		if a.transient(channel) {
			concerned = true
			a.want(channel)
		}
	}
	if !concerned {
		return false
	}
	arrival := &barrier{then: then}
	now := time.Now()
	for _, l := range a.links {
		if (l.known && l.settled == l.queued) || l.lost(now) {
			continue
		}
		l.waiting = append(l.waiting, waiter{l.queued, arrival})
		arrival.open++
		signal(l.wake)
	}
	return arrival.open > 0
}

// want puts a channel among the wanted, unless its subscribers have gone again.
// a.mu is held.
func (a *announcer) want(channel fsm.ChannelKey) {
	if _, known := a.wanted[channel]; known || !a.hasSubscribers(channel) {
		return
	}
	a.wanted[channel] = struct{}{}
	a.queue(channel)
}

// queue has every peer told of a channel. a.mu is held.
func (a *announcer) queue(channel fsm.ChannelKey) {
	for _, l := range a.links {
		l.queued++
		if l.number > 0 { // or else an epoch is to begin, which tells all
			l.pending = append(l.pending, channel)
		}
	}
}

// drop has the peers told, with the next change, that a channel is not wanted.
func (a *announcer) drop(channel fsm.ChannelKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.wanted[channel]; known && !a.hasSubscribers(channel) {
		delete(a.wanted, channel)
		a.queue(channel)
	}
}

// rulesChanged says that channels may have become memory channels, or may be
// none any more. It does not block.
func (a *announcer) rulesChanged() { signal(a.rules) }

// run follows changes of rules until ctx ends.
func (a *announcer) run(ctx context.Context) {
	for {
		select {
		case <-a.rules:
			a.applyRules()
		case <-ctx.Done():
			return
		}
	}
}

func (a *announcer) applyRules() {
	attended := slices.DeleteFunc(a.subscribed(), func(c fsm.ChannelKey) bool { return !a.transient(c) })
	a.mu.Lock()
	defer a.mu.Unlock()
	for channel := range a.wanted {
		if !a.transient(channel) {
			delete(a.wanted, channel)
			a.queue(channel)
		}
	}
	for _, channel := range attended {
		a.want(channel)
	}
	for _, l := range a.links {
		signal(l.wake)
	}
}

// setPeers says which other nodes are to be told.
func (a *announcer) setPeers(ids []string) {
	a.mu.Lock()
	var arrived []func()
	for id, l := range a.links {
		if !slices.Contains(ids, id) {
			l.cancel()
			delete(a.links, id)
			arrived = l.release(arrived, true)
		}
	}
	for _, id := range ids {
		if a.links[id] == nil && a.ctx.Err() == nil {
			ctx, cancel := context.WithCancel(a.ctx)
			// A later process, or link, must have later epochs.
			l := &peerLink{peer: id, wake: make(chan struct{}, 1), cancel: cancel, epoch: uint64(time.Now().UnixNano())}
			a.links[id] = l
			a.running.Go(func() { a.serve(ctx, l) })
		}
	}
	a.mu.Unlock()
	for _, then := range arrived {
		then()
	}
}

// serve tells one peer all that there is to tell, and now and then that there is
// nothing.
func (a *announcer) serve(ctx context.Context, l *peerLink) {
	ticker := time.NewTicker(interestInterval)
	defer ticker.Stop()
	for more := true; ; {
		if !more {
			select {
			case <-l.wake:
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		var failed bool
		if more, failed = a.sendNext(ctx, l); failed {
			select {
			case <-time.After(announcePause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// sendNext tells one change. more says that another is due.
func (a *announcer) sendNext(ctx context.Context, l *peerLink) (more, failed bool) {
	change, upTo := a.pack(l)
	telling, cancel := context.WithTimeout(ctx, announceTimeout)
	answer, err := a.tell(telling, l.peer, change)
	cancel()

	a.mu.Lock()
	now := time.Now()
	switch {
	case err != nil || !answer.Taken:
		failed, more = true, true
		l.epoch, l.number = max(l.epoch, answer.Epoch), 0
		l.known, l.pending = false, nil
		if err == nil {
			l.broken = time.Time{}
		} else if l.broken.IsZero() {
			l.broken = now
		}
	case change.Number == 1:
		l.broken = time.Time{}
		l.pending = slices.AppendSeq(l.pending, maps.Keys(a.wanted))
		l.queued += uint64(len(a.wanted))
		more = true
	default:
		l.broken = time.Time{}
		l.known = l.known || change.Complete
		l.settled = upTo
		more = len(l.pending) > 0
	}
	arrived := l.release(nil, l.lost(now))
	a.mu.Unlock()
	for _, then := range arrived {
		then()
	}
	return more, failed
}

// pack makes the next change and says how many channels will be settled with it.
func (a *announcer) pack(l *peerLink) (change interestChange, upTo uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.number == 0 {
		l.epoch, l.number = l.epoch+1, 1
		return interestChange{Epoch: l.epoch, Number: 1}, 0
	}
	l.number++
	change = interestChange{Epoch: l.epoch, Number: l.number}
	n := min(len(l.pending), interestChunk)
	for _, channel := range l.pending[:n] {
		if _, wanted := a.wanted[channel]; wanted {
			change.Add = append(change.Add, channel)
		} else {
			change.Remove = append(change.Remove, channel)
		}
	}
	if l.pending = l.pending[n:]; len(l.pending) == 0 {
		l.pending, change.Complete = nil, true
	}
	return change, l.queued - uint64(len(l.pending))
}

// lost reports whether the peer has not answered for so long that it has
// forgotten what it was told.
func (l *peerLink) lost(now time.Time) bool {
	return !l.broken.IsZero() && now.Sub(l.broken) > interestAge
}

// release adds to arrived what need not wait for this link any more.
func (l *peerLink) release(arrived []func(), all bool) []func() {
	n := 0
	for n < len(l.waiting) && (all || l.known && l.waiting[n].upTo <= l.settled) {
		if a := l.waiting[n].barrier; a.open == 1 {
			arrived = append(arrived, a.then)
		} else {
			a.open--
		}
		n++
	}
	if l.waiting = l.waiting[n:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	return arrived
}

func (a *announcer) close() error {
	a.mu.Lock()
	a.cancel()
	a.mu.Unlock()
	a.running.Wait()
	return nil
}

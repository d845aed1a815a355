package relay

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/internal/barrier"
)

const (
	announceTimeout = time.Second
	// announcePause is the pause before a peer that failed is told again.
	announcePause = 100 * time.Millisecond
)

// Subscriptions tells which channels have subscribers on this node.
type Subscriptions interface {
	HasSubscribers(fsm.ChannelKey) bool
	SubscribedChannels() []fsm.ChannelKey
}

// Announcer tells every peer which memory channels this node is interested in.
type Announcer struct {
	subscriptions Subscriptions
	isMemory      func(fsm.ChannelKey) bool
	tell          func(ctx context.Context, peer string, change Change) (Answer, error)

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	rules   chan struct{} // holds a token when rules may have changed

	mu     sync.Mutex
	wanted map[fsm.ChannelKey]struct{}
	links  map[string]*link
}

// link tells one peer of changes.
type link struct {
	peer   string
	wake   chan struct{}
	cancel context.CancelFunc

	epoch, number uint64 // of the last change; number 0: the next one begins an epoch
	known         bool   // the peer knows every channel that is not pending
	// pending holds the channels of the next changes. Whether a channel is added or
	// removed is decided when its change leaves.
	pending   []fsm.ChannelKey
	queued    uint64    // channels that were ever pending
	confirmed uint64    // channels of these that the peer has confirmed
	broken    time.Time // since when the peer has not answered; zero: it does
	waiters   barrier.Queue
}

// NewAnnouncer returns an announcer without peers. isMemory reports whether a channel is a
// memory channel, and tell sends a change to a peer and returns its answer.
func NewAnnouncer(subscriptions Subscriptions, isMemory func(fsm.ChannelKey) bool,
	tell func(ctx context.Context, peer string, change Change) (Answer, error),
) *Announcer {
	ctx, cancel := context.WithCancel(context.Background())
	return &Announcer{
		subscriptions: subscriptions, isMemory: isMemory, tell: tell,
		ctx: ctx, cancel: cancel, rules: make(chan struct{}, 1),
		wanted: make(map[fsm.ChannelKey]struct{}), links: make(map[string]*link),
	}
}

// Add announces those of the channels that are memory channels. It reports whether there
// are peers to wait for; if so, it calls then once all have confirmed. It does not wait for
// a peer that has been silent for interestAge, since such a peer sends everything.
func (a *Announcer) Add(channels []fsm.ChannelKey, then func()) (waits bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	concerned := false
	for _, channel := range channels {
		if a.isMemory(channel) {
			concerned = true
			a.want(channel)
		}
	}
	if !concerned {
		return false
	}
	b := barrier.New(then)
	now := time.Now()
	for _, l := range a.links {
		if (l.known && l.confirmed == l.queued) || l.lost(now) {
			continue
		}
		l.waiters.Add(l.queued, b)
		signal(l.wake)
	}
	return b.Held()
}

// want adds a channel to the wanted ones if it still has subscribers. a.mu is held.
func (a *Announcer) want(channel fsm.ChannelKey) {
	if _, known := a.wanted[channel]; known || !a.subscriptions.HasSubscribers(channel) {
		return
	}
	a.wanted[channel] = struct{}{}
	a.queue(channel)
}

// queue makes a channel part of the next change for every peer. a.mu is held.
func (a *Announcer) queue(channel fsm.ChannelKey) {
	for _, l := range a.links {
		l.queued++
		if l.number > 0 { // a new epoch tells all channels anyway
			l.pending = append(l.pending, channel)
		}
	}
}

// Drop announces with the next change that a channel has no subscribers any more.
func (a *Announcer) Drop(channel fsm.ChannelKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.wanted[channel]; known && !a.subscriptions.HasSubscribers(channel) {
		delete(a.wanted, channel)
		a.queue(channel)
	}
}

// RulesChanged makes Run look again at which channels are memory channels. It does not
// block.
func (a *Announcer) RulesChanged() { signal(a.rules) }

// Run follows changes of rules until ctx ends.
func (a *Announcer) Run(ctx context.Context) {
	for {
		select {
		case <-a.rules:
			a.applyRules()
		case <-ctx.Done():
			return
		}
	}
}

func (a *Announcer) applyRules() {
	subscribed := a.subscriptions.SubscribedChannels()
	subscribed = slices.DeleteFunc(subscribed, func(c fsm.ChannelKey) bool { return !a.isMemory(c) })
	a.mu.Lock()
	defer a.mu.Unlock()
	for channel := range a.wanted {
		if !a.isMemory(channel) {
			delete(a.wanted, channel)
			a.queue(channel)
		}
	}
	for _, channel := range subscribed {
		a.want(channel)
	}
	for _, l := range a.links {
		signal(l.wake)
	}
}

// SetPeers replaces the set of peers that are told.
func (a *Announcer) SetPeers(ids []string) {
	a.mu.Lock()
	var passed []func()
	for id, l := range a.links {
		if !slices.Contains(ids, id) {
			l.cancel()
			delete(a.links, id)
			passed = append(passed, l.release(true)...)
		}
	}
	for _, id := range ids {
		if a.links[id] == nil && a.ctx.Err() == nil {
			ctx, cancel := context.WithCancel(a.ctx)
			// The clock gives a later link, or process, later epochs.
			epoch := uint64(time.Now().UnixNano())
			l := &link{peer: id, wake: make(chan struct{}, 1), cancel: cancel, epoch: epoch}
			a.links[id] = l
			a.running.Go(func() { a.serve(ctx, l) })
		}
	}
	a.mu.Unlock()
	for _, then := range passed {
		then()
	}
}

// serve tells one peer every change, and at intervals that nothing has changed.
func (a *Announcer) serve(ctx context.Context, l *link) {
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

// sendNext tells one change. It reports whether another is due and whether the peer
// failed to take this one.
func (a *Announcer) sendNext(ctx context.Context, l *link) (more, failed bool) {
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
		l.confirmed = upTo
		more = len(l.pending) > 0
	}
	passed := l.release(l.lost(now))
	a.mu.Unlock()
	for _, then := range passed {
		then()
	}
	return more, failed
}

// pack makes the next change and returns how many channels it confirms.
func (a *Announcer) pack(l *link) (change Change, upTo uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.number == 0 {
		l.epoch, l.number = l.epoch+1, 1
		return Change{Epoch: l.epoch, Number: 1}, 0
	}
	l.number++
	change = Change{Epoch: l.epoch, Number: l.number}
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

// lost reports whether the peer has been silent for so long that it has forgotten what it
// was told.
func (l *link) lost(now time.Time) bool {
	return !l.broken.IsZero() && now.Sub(l.broken) > interestAge
}

// release lets go of the barriers that this link holds up no more, or of all, and returns
// what is to be called for them.
func (l *link) release(all bool) []func() {
	switch {
	case all:
		return l.waiters.Release(math.MaxUint64)
	case l.known:
		return l.waiters.Release(l.confirmed)
	}
	return nil
}

// Close stops announcing. Barriers that still wait are never passed.
func (a *Announcer) Close() error {
	a.mu.Lock()
	a.cancel()
	a.mu.Unlock()
	a.running.Wait()
	return nil
}

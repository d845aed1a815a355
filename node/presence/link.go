package presence

import (
	"math"
	"time"

	"github.com/aptlyd/aptlyd/gateway/presence"
	"github.com/aptlyd/aptlyd/internal/barrier"
)

const (
	// Beat is how often a node says that nothing has changed.
	Beat = 500 * time.Millisecond
	// patience is how long a peer that does not answer is waited for.
	patience = 2 * time.Second
	// deafAfter is when a peer that does not answer is told so. It is long before the peer is
	// waited for no more, so that the peer hears of it first.
	deafAfter = 500 * time.Millisecond
	// chunk bounds the changes of one message.
	chunk = 256
)

// link tells one peer the own slice: once everything, and then each change. One message is
// under way at a time. It knows nothing of goroutines, so that tests can drive it.
type link struct {
	members *presence.Members
	number  uint64    // that the peer has taken
	known   bool      // the peer knows everything up to number
	broken  time.Time // since when the peer has not answered; zero: it does
	waiters barrier.Queue

	// While everything is told.
	places  []presence.Place
	filling uint64
	piece   int // of the last message
	told    int // places before this one are told
}

// next makes the next message.
func (l *link) next(now time.Time) presence.Message {
	m := l.content()
	m.Unanswered = !l.broken.IsZero() && now.Sub(l.broken) > deafAfter
	return m
}

// content returns the next changes, or the next piece of everything.
func (l *link) content() presence.Message {
	boot := l.members.Boot()
	if l.known {
		if changes, upTo, kept := l.members.Changes(l.number, chunk); kept {
			return presence.Message{Boot: boot, From: l.number, To: upTo, Changes: changes}
		}
		l.restart()
	}
	if l.piece == 0 {
		l.places, l.filling = l.members.Everything()
	}
	from := l.told
	l.told = min(from+chunk, len(l.places))
	l.piece++
	return presence.Message{
		Boot: boot, To: l.filling, Piece: l.piece, Last: l.told == len(l.places),
		Changes: l.members.Describe(l.places[from:l.told]),
	}
}

// restart tells everything anew.
func (l *link) restart() { l.known, l.places, l.piece, l.told = false, nil, 0, 0 }

// answered takes the answer to a message, or the error instead of one. It reports whether
// another message is due.
func (l *link) answered(m presence.Message, a presence.Answer, err error, now time.Time) (more bool) {
	switch {
	case err != nil:
		if l.broken.IsZero() {
			l.broken = now
		}
		if m.Piece > 0 {
			l.restart()
		}
		return true // a change that was taken is told twice, which does no harm
	case !a.Taken:
		l.broken = time.Time{}
		l.restart()
		return true
	case m.Piece == 0:
		l.number = m.To
	case m.Last:
		l.number, l.known = m.To, true
		l.places, l.piece, l.told = nil, 0, 0
	}
	l.broken = time.Time{}
	return l.due()
}

// due reports whether there is something that the peer was not told.
func (l *link) due() bool { return !l.known || l.number < l.members.Number() }

// covered returns the number up to which the peer is not told single changes any more.
func (l *link) covered() uint64 {
	switch {
	case l.known:
		return l.number
	case l.piece > 0:
		return l.filling
	}
	return math.MaxUint64
}

// lost reports whether the peer is not waited for any more.
func (l *link) lost(now time.Time) bool { return !l.broken.IsZero() && now.Sub(l.broken) > patience }

// release lets go of the barriers that the link holds up no more, or of all, and returns what is
// to be called for them.
func (l *link) release(all bool) []func() {
	switch {
	case all:
		return l.waiters.Release(math.MaxUint64)
	case l.known:
		return l.waiters.Release(l.number)
	}
	return nil
}

package torture

import (
	"fmt"
	"strings"
)

// deliveredInOrder: a session gets, of each channel, what comes after the offset
// that it named, without a hole and without a repeat. Nothing expires during a
// run, so a gap is a hole and no offset ever becomes meaningless.
func (l *ledger) deliveredInOrder() (broken []string) {
	for session, channels := range sorted(l.sessions) {
		for channel, events := range sorted(channels) {
			if !kept(channel) {
				continue
			}
			var last uint64
			began := false
			for _, e := range events {
				switch e.Kind {
				case Subscribe:
					if e.Code != "" {
						continue
					}
					if !began {
						last, began = e.Offset, true
					}
				case Gap:
					broken = append(broken, fmt.Sprintf("%s says to %s that %d to %d of %s will not come", e.Node, session, e.Offset,
						e.Head, channel))
					last = e.Head
				case Reset:
					broken = append(broken, fmt.Sprintf("%s says to %s that offset %d of %s means nothing", e.Node, session, last,
						channel))
					began = false
				case Deliver:
					if !began {
						broken = append(broken, fmt.Sprintf("%s delivers %s@%d to %s before it says subscribed", e.Node, channel,
							e.Offset, session))
						last, began = e.Offset-1, true
					}
					if e.Offset != last+1 {
						broken = append(broken, fmt.Sprintf("%s delivers %s@%d to %s after %d, at %s", e.Node, channel, e.Offset, session,
							last, seconds(e.At)))
					}
					last = e.Offset
				}
			}
		}
	}
	return broken
}

// nobodyIsSentWhatItHas: a session gets nothing at or below the offset that it named, and
// nothing at or below what it got before.
func (l *ledger) nobodyIsSentWhatItHas() (broken []string) {
	for session, channels := range sorted(l.sessions) {
		for channel, events := range sorted(channels) {
			if !kept(channel) {
				continue
			}
			var has uint64
			for _, e := range events {
				switch e.Kind {
				case Subscribe:
					has = max(has, e.Offset)
				case Deliver:
					if e.Offset <= has {
						broken = append(broken, fmt.Sprintf("%s delivers %s@%d to %s, which has all up to %d, at %s", e.Node, channel,
							e.Offset, session, has, seconds(e.At)))
					}
					has = max(has, e.Offset)
				}
			}
		}
	}
	return broken
}

// deliveredToTheEnd: a session that lives gets everything there is.
func (l *ledger) deliveredToTheEnd() (broken []string) {
	for session, channels := range sorted(l.sessions) {
		for channel, events := range sorted(channels) {
			var last, from uint64
			var node string
			for _, e := range events {
				switch e.Kind {
				case Subscribe:
					last, from, node = max(last, e.Offset), e.Offset, e.Node
				case Deliver:
					last = e.Offset
				case CaughtUp:
					if last < e.Head {
						broken = append(broken, fmt.Sprintf("%s, subscribed to %s on %s after %d, has got up to %d of %d",
							session, channel, node, from, last, e.Head))
					}
				}
			}
		}
	}
	return broken
}

// deliveredStays: what anybody was sent is on every node in the end. What came after a node was
// read is not meant: the network may hold up a publish for that long.
func (l *ledger) deliveredStays() (broken []string) {
	told := make(map[place]bool)
	for i := range l.history {
		e := &l.history[i]
		p := place{e.Channel, e.Offset}
		if e.Kind != Deliver || !kept(e.Channel) || told[p] {
			continue
		}
		for node, messages := range sorted(l.finals) {
			if end := l.retained[node][e.Channel]; end != nil && e.Offset > end.Head && e.At > end.At {
				continue
			}
			if found := messages[p]; found == nil || found.Tag != e.Tag {
				told[p] = true
				broken = append(broken, fmt.Sprintf("%s was %s as %s and is not there on %s in the end", e.Tag, witness(e), p,
					node))
			}
		}
	}
	return broken
}

// nothingInvented: every message that is seen was published, to that channel,
// with those very bytes.
func (l *ledger) nothingInvented() (broken []string) {
	told := make(map[string]bool)
	for i := range l.history {
		e := &l.history[i]
		if e.Kind != Deliver && e.Kind != Read || told[e.Tag] {
			continue
		}
		attempts := l.publishes[e.Tag]
		if len(attempts) == 0 {
			told[e.Tag] = true
			broken = append(broken, fmt.Sprintf("%s@%d is %s (%s)", e.Channel, e.Offset, e.Tag, witness(e)))
		} else if attempts[0].Channel != e.Channel {
			told[e.Tag] = true
			broken = append(broken, fmt.Sprintf("%s was published to %s and is %s@%d (%s)", e.Tag, attempts[0].Channel,
				e.Channel, e.Offset, witness(e)))
		}
	}
	return broken
}

// failedDidNotHappen: a publish that was refused, each time it was sent, is
// nowhere.
func (l *ledger) failedDidNotHappen() (broken []string) {
	told := make(map[string]bool)
	for i := range l.history {
		e := &l.history[i]
		if e.Kind != Deliver && e.Kind != Read || told[e.Tag] {
			continue
		}
		failed := len(l.publishes[e.Tag]) > 0
		code := ""
		for _, attempt := range l.publishes[e.Tag] {
			failed = failed && attempt.Outcome == Failed
			code = attempt.Code
		}
		if failed {
			told[e.Tag] = true
			broken = append(broken, fmt.Sprintf("%s was refused (%s) and is %s@%d (%s)", e.Tag, code, e.Channel, e.Offset,
				witness(e)))
		}
	}
	return broken
}

// clientGetsThrough: package client goes on trying, on whatever node, for as long
// as it is given, which is longer than any fault lasts.
func (l *ledger) clientGetsThrough() (broken []string) {
	for i := range l.history {
		e := &l.history[i]
		if e.Kind == Publish && strings.HasPrefix(e.Session, followers) && e.Outcome != OK {
			broken = append(broken, fmt.Sprintf("%s sent %s at %s and gave up at %s: %s", e.Session, e.Tag, seconds(e.Began),
				seconds(e.At), e.Code))
		}
	}
	return broken
}

// liveKeyWorks: a key that was made is known everywhere until it is revoked.
func (l *ledger) liveKeyWorks() (broken []string) {
	for i := range l.history {
		e := &l.history[i]
		if e.Kind != Opened && e.Kind != Publish || e.Key == "" || e.Code != "invalid_key" && e.Code != "key_revoked" {
			continue
		}
		made := l.created[e.Key]
		if made == nil || e.Began < made.At {
			continue
		}
		if end := l.revoked[e.Key]; end == nil || e.At < end.Began {
			broken = append(broken, fmt.Sprintf("%s refuses key %s (%s) at %s, made at %s and not revoked", e.Node, e.Key,
				e.Code, seconds(e.At), seconds(made.At)))
		}
	}
	return broken
}

// revokedKeyIsDead: what is sent with a key after it was revoked is not stored. Some
// seconds later nobody connects with it, nobody publishes with it, and what is published
// from then on is not delivered with it.
func (l *ledger) revokedKeyIsDead() (broken []string) {
	dead := func(key string, at int64) bool {
		end := l.revoked[key]
		return end != nil && at > end.At+int64(revokedWithin)
	}
	told := make(map[string]bool)
	for i := range l.history {
		e := &l.history[i]
		switch e.Kind {
		case Opened, Publish:
			if e.Outcome != OK || e.Key == "" {
				continue
			}
			end := l.revoked[e.Key]
			stored := e.Kind == Publish && kept(e.Channel) && end != nil && e.Began > end.At
			if stored || dead(e.Key, e.Began) {
				broken = append(broken, fmt.Sprintf("%s takes key %s (%s) at %s, revoked at %s", e.Node, e.Key, e.Kind,
					seconds(e.Began), seconds(l.revoked[e.Key].At)))
			}
		case Deliver:
			session := l.opened[e.Session]
			attempts := l.publishes[e.Tag]
			if session == nil || session.Key == "" || len(attempts) == 0 || told[e.Session] {
				continue
			}
			if sent := l.firstSent(attempts[0]); dead(session.Key, sent) {
				told[e.Session] = true
				broken = append(broken, fmt.Sprintf("%s delivers %s, published at %s, to %s with key %s, revoked at %s",
					e.Node, e.Tag, seconds(sent), e.Session, session.Key, seconds(l.revoked[session.Key].At)))
			}
		}
	}
	return broken
}

// nobodyDies: a node goes on unless something was done to it that ends it.
func (l *ledger) nobodyDies() (broken []string) {
	for i := range l.history {
		if e := &l.history[i]; e.Kind == Died {
			broken = append(broken, fmt.Sprintf("%s ended at %s: %s", e.Node, seconds(e.At), e.Note))
		}
	}
	return broken
}

// healedIsLive: soon after everything is healed every node serves.
func (l *ledger) healedIsLive() (broken []string) {
	var healed *Event
	alive := make(map[string]int64)
	for i := range l.history {
		switch e := &l.history[i]; e.Kind {
		case Healed:
			healed = e
		case Live:
			alive[e.Node] = e.At
		}
	}
	if healed == nil {
		return []string{"the history ends before the cluster was healed"}
	}
	for node, at := range sorted(alive) {
		if at == 0 || at > healed.At+int64(liveWithin) {
			broken = append(broken, fmt.Sprintf("%s is back %s after all was healed", node, seconds(at-healed.At)))
		}
	}
	for node := range strings.FieldsSeq(healed.Note) {
		if alive[node] == 0 {
			broken = append(broken, fmt.Sprintf("%s does not serve %v after all was healed", node, patience))
		}
	}
	return broken
}

package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Violation is a promise that a history shows broken.
type Violation struct {
	Rule string
	Text string
}

func (v Violation) String() string { return v.Rule + ": " + v.Text }

// The promises that have a time.
const (
	revokedWithin = 10 * time.Second // whatever fails
	liveWithin    = 30 * time.Second
	goesOnWithin  = 10 * time.Second // without those nodes that something is wrong with
)

// patience is how long is waited for what should take less, to say how much longer
// it took.
const patience = 2 * liveWithin

// rules are what is checked, in this order.
var rules = []struct {
	name  string
	check func(*ledger) []string
}{
	{"one message per offset", (*ledger).oneMessagePerOffset},
	{"what is acknowledged is there", (*ledger).acknowledgedIsThere},
	{"no hole", (*ledger).noHole},
	{"no repeat", (*ledger).noRepeat},
	{"all nodes agree", (*ledger).nodesAgree},
	{"time does not go back", (*ledger).stampsRise},
	{"publishes of a connection keep their order", (*ledger).publishOrder},
	{"what was acknowledged comes before what was sent later", (*ledger).realTimeOrder},
	{"a subscriber gets everything once and in order", (*ledger).deliveredInOrder},
	{"nobody is sent what it has", (*ledger).nobodyIsSentWhatItHas},
	{"a subscriber gets everything to the end", (*ledger).deliveredToTheEnd},
	{"what is delivered stays", (*ledger).deliveredStays},
	{"nobody is sent what nobody published", (*ledger).nothingInvented},
	{"what failed did not happen", (*ledger).failedDidNotHappen},
	{"package client gets everything through", (*ledger).clientGetsThrough},
	{"a key works until it is revoked", (*ledger).liveKeyWorks},
	{"a revoked key is dead", (*ledger).revokedKeyIsDead},
	{"nothing of a key is stored after its revocation", (*ledger).nothingAfterRevocation},
	{"a node ends only when it must", (*ledger).nobodyDies},
	{"a majority goes on", (*ledger).majorityGoesOn},
	{"a slow leader hands over", (*ledger).slowLeaderHandsOver},
	{"a healed cluster lives", (*ledger).healedIsLive},
	{"a member is shown once", (*ledger).membersAreShownOnce},
	{"nobody is said to have left who has not", (*ledger).nobodyLeavesWhoHasNot},
	{"an update is one change", (*ledger).updatesAreOne},
	{"members leave for the reason that is said", (*ledger).reasonsAreTrue},
	{"every node shows the members", (*ledger).everyNodeShowsTheMembers},
}

// Check holds a history against what aptlyd promises and returns what is broken,
// rule by rule. Channels whose names begin with "m:" keep nothing.
func Check(history []Event) (violations []Violation) {
	l := newLedger(history)
	for _, r := range rules {
		for _, text := range r.check(l) {
			violations = append(violations, Violation{r.name, text})
		}
	}
	return violations
}

// place is where a message is.
type place struct {
	channel string
	offset  uint64
}

func (p place) String() string { return fmt.Sprintf("%s@%d", p.channel, p.offset) }

// ledger is a history in an order that suits the rules.
type ledger struct {
	history   []Event
	publishes map[string][]*Event            // by tag: the attempts
	finals    map[string]map[place]*Event    // by node: what it has in the end
	retained  map[string]map[string]*Event   // by node and channel
	sessions  map[string]map[string][]*Event // by session and channel: Subscribe, Deliver, Gap, Reset, CaughtUp
	opened    map[string]*Event              // by session
	created   map[string]*Event              // by key
	revoked   map[string]*Event              // by key
}

func newLedger(history []Event) *ledger {
	l := &ledger{
		history:   history,
		publishes: make(map[string][]*Event),
		finals:    make(map[string]map[place]*Event),
		retained:  make(map[string]map[string]*Event),
		sessions:  make(map[string]map[string][]*Event),
		opened:    make(map[string]*Event),
		created:   make(map[string]*Event),
		revoked:   make(map[string]*Event),
	}
	for i := range history {
		e := &history[i]
		switch e.Kind {
		case Publish:
			l.publishes[e.Tag] = append(l.publishes[e.Tag], e)
		case Read:
			inner(l.finals, e.Node)[place{e.Channel, e.Offset}] = e
		case Retained:
			inner(l.retained, e.Node)[e.Channel] = e
		case Subscribe, Deliver, Gap, Reset, CaughtUp:
			channels := inner(l.sessions, e.Session)
			channels[e.Channel] = append(channels[e.Channel], e)
		case Opened:
			l.opened[e.Session] = e
		case Created:
			l.created[e.Key] = e
		case Revoked:
			l.revoked[e.Key] = e
		}
	}
	return l
}

func inner[K comparable, V any](m map[string]map[K]V, key string) map[K]V {
	if m[key] == nil {
		m[key] = make(map[K]V)
	}
	return m[key]
}

// followers begin the names of the sessions of package client.
const followers = "follower-"

// kept reports whether messages of a channel are kept.
func kept(channel string) bool { return !strings.HasPrefix(channel, "m:") }

// seconds puts a time of the history into words.
func seconds(at int64) string { return fmt.Sprintf("%.3f s", time.Duration(at).Seconds()) }

// sorted ranges over a map in the order of its keys, so that the first violation
// is always the same one.
func sorted[V any](m map[string]V) func(func(string, V) bool) {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

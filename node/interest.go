package node

import (
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// A node tells each of its peers to which memory channels it attends: those that
// have subscribers there. A peer that does not know it, or has not heard of it
// for interestAge, sends it the messages of all channels: nothing is lost for
// want of knowledge.

const (
	// interestAge is how long what a peer said holds.
	interestAge = 2 * time.Second
	// interestInterval is how often a node says that nothing has changed.
	interestInterval = 500 * time.Millisecond
	// interestChunk is how many channels are told at a time.
	interestChunk = 4096
	// maxInterest is how many channels of one peer are remembered. A peer that attends to
	// more gets the messages of all.
	maxInterest = 1 << 20
)

// interestChange is what a node tells a peer: changes, numbered from 1 in each
// epoch. The first of an epoch starts from nothing.
type interestChange struct {
	Epoch  uint64           `json:"epoch"`
	Number uint64           `json:"number"`
	Add    []fsm.ChannelKey `json:"add,omitempty"`
	Remove []fsm.ChannelKey `json:"remove,omitempty"`
	// Complete: with this the peer knows all channels.
	Complete bool `json:"complete,omitempty"`
}

// interestAnswer says whether a change was in its turn; if it was not, the
// teller begins another epoch, above Epoch.
type interestAnswer struct {
	Taken bool   `json:"taken"`
	Epoch uint64 `json:"epoch"`
}

// interest is what a peer has told.
type interest struct {
	epoch, number uint64
	complete      bool
	overfull      bool      // more channels were told in this epoch than are remembered
	at            time.Time // of the last change
	channels      map[fsm.ChannelKey]struct{}
}

// wants reports whether the peer is to get the messages of a channel.
func (a *interest) wants(channel fsm.ChannelKey, now time.Time) bool {
	if !a.complete || now.Sub(a.at) > interestAge {
		return true
	}
	_, wanted := a.channels[channel]
	return wanted
}

// apply takes a change.
func (a *interest) apply(c interestChange, now time.Time) interestAnswer {
	switch {
	case c.Epoch > a.epoch && c.Number == 1:
		*a = interest{epoch: c.Epoch, channels: make(map[fsm.ChannelKey]struct{})}
	case c.Epoch < a.epoch:
		return interestAnswer{Epoch: a.epoch} // it was overtaken by a later epoch
	case c.Epoch == 0 || c.Epoch != a.epoch || c.Number != a.number+1:
		a.complete = false // something between was lost
		return interestAnswer{Epoch: a.epoch}
	}
	for _, channel := range c.Add {
		a.channels[channel] = struct{}{}
	}
	for _, channel := range c.Remove {
		delete(a.channels, channel)
	}
	a.number, a.at = c.Number, now
	if len(a.channels) > maxInterest {
		a.channels, a.overfull = make(map[fsm.ChannelKey]struct{}), true
	}
	a.complete = (a.complete || c.Complete) && !a.overfull
	return interestAnswer{Taken: true, Epoch: a.epoch}
}

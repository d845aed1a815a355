package node

import (
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// A node tells each of its peers to which memory channels it attends: those that
// have subscribers there. A peer that does not know it, or has not heard of it
// for attentionAge, sends it the messages of all channels: nothing is lost for
// want of knowledge.

const (
	// attentionAge is how long what a peer said holds.
	attentionAge = 2 * time.Second
	// attentionInterval is how often a node says that nothing has changed.
	attentionInterval = 500 * time.Millisecond
	// attentionChunk is how many channels are told at a time.
	attentionChunk = 4096
)

// attentionChange is what a node tells a peer: changes, numbered from 1 in each
// epoch. The first of an epoch starts from nothing.
type attentionChange struct {
	Epoch  uint64           `json:"epoch"`
	Number uint64           `json:"number"`
	Add    []fsm.ChannelKey `json:"add,omitempty"`
	Remove []fsm.ChannelKey `json:"remove,omitempty"`
	// Complete: with this the peer knows all channels.
	Complete bool `json:"complete,omitempty"`
}

// attentionAnswer says whether a change was in its turn; if it was not, the
// teller begins another epoch, above Epoch.
type attentionAnswer struct {
	Taken bool   `json:"taken"`
	Epoch uint64 `json:"epoch"`
}

// attention is what a peer has told.
type attention struct {
	epoch, number uint64
	complete      bool
	at            time.Time // of the last change
	channels      map[fsm.ChannelKey]struct{}
}

// wants reports whether the peer is to get the messages of a channel.
func (a *attention) wants(channel fsm.ChannelKey, now time.Time) bool {
	if !a.complete || now.Sub(a.at) > attentionAge {
		return true
	}
	_, wanted := a.channels[channel]
	return wanted
}

// apply takes a change.
func (a *attention) apply(c attentionChange, now time.Time) attentionAnswer {
	switch {
	case c.Epoch > a.epoch && c.Number == 1:
		*a = attention{epoch: c.Epoch, channels: make(map[fsm.ChannelKey]struct{})}
	case c.Epoch < a.epoch:
		return attentionAnswer{Epoch: a.epoch} // it was overtaken by a later epoch
	case c.Epoch == 0 || c.Epoch != a.epoch || c.Number != a.number+1:
		a.complete = false // something between was lost
		return attentionAnswer{Epoch: a.epoch}
	}
	for _, channel := range c.Add {
		a.channels[channel] = struct{}{}
	}
	for _, channel := range c.Remove {
		delete(a.channels, channel)
	}
	a.number, a.at = c.Number, now
	a.complete = a.complete || c.Complete
	return attentionAnswer{Taken: true, Epoch: a.epoch}
}

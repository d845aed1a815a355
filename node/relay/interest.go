package relay

import (
	"fmt"
	"math"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// A node's interest is the set of memory channels that have subscribers there. Each node
// tells its interest to every peer. A peer that does not know it, or has not heard of it
// for interestAge, sends that node the messages of all channels, so doubt costs bandwidth
// and never a message.

const (
	// interestAge bounds how long a peer's interest stays valid without news.
	interestAge = 2 * time.Second
	// interestInterval is the pause after which a node repeats that nothing has changed.
	interestInterval = 500 * time.Millisecond
	// interestChunk bounds the channels in one change.
	interestChunk = 4096
	// maxInterest bounds the channels remembered of one peer. A peer that is interested in
	// more gets the messages of all.
	maxInterest = 1 << 20
)

// Change is one step of a node's interest. Changes are numbered from 1 in each epoch, and
// the first of an epoch starts from an empty set.
type Change struct {
	Epoch  uint64           `json:"epoch"`
	Number uint64           `json:"number"`
	Add    []fsm.ChannelKey `json:"add,omitempty"`
	Remove []fsm.ChannelKey `json:"remove,omitempty"`
	// Complete says that the peer knows all channels with this change.
	Complete bool `json:"complete,omitempty"`
}

// Check refuses a change that no node sends.
func (c *Change) Check() error {
	if c.Epoch > math.MaxInt64 || c.Number > math.MaxInt64 {
		return fmt.Errorf("change %d of epoch %d", c.Number, c.Epoch)
	}
	if n := len(c.Add) + len(c.Remove); n > interestChunk {
		return fmt.Errorf("%d channels at once", n)
	}
	for _, list := range [][]fsm.ChannelKey{c.Add, c.Remove} {
		for _, channel := range list {
			if !fsm.ValidChannel(channel) {
				return fmt.Errorf("channel name of %d bytes in a project id of %d", len(channel.Name), len(channel.Project))
			}
		}
	}
	return nil
}

// Answer says whether a peer took a change. If not, the sender begins another epoch,
// above Epoch.
type Answer struct {
	Taken bool   `json:"taken"`
	Epoch uint64 `json:"epoch"`
}

// Check refuses an answer that no node gives.
func (a Answer) Check() error {
	if a.Epoch > math.MaxInt64 {
		return fmt.Errorf("epoch %d", a.Epoch)
	}
	return nil
}

// interest is the interest of a peer, as far as this node knows it.
type interest struct {
	epoch, number uint64
	complete      bool
	overfull      bool      // this epoch has more channels than are remembered
	at            time.Time // of the last change
	channels      map[fsm.ChannelKey]struct{}
}

// wants reports whether the peer gets the messages of a channel.
func (i *interest) wants(channel fsm.ChannelKey, now time.Time) bool {
	if !i.complete || now.Sub(i.at) > interestAge {
		return true
	}
	_, wanted := i.channels[channel]
	return wanted
}

// apply applies a change, unless an earlier one is missing.
func (i *interest) apply(c Change, now time.Time) Answer {
	switch {
	case c.Epoch > i.epoch && c.Number == 1:
		*i = interest{epoch: c.Epoch, channels: make(map[fsm.ChannelKey]struct{})}
	case c.Epoch < i.epoch:
		return Answer{Epoch: i.epoch} // a later epoch overtook it
	case c.Epoch == 0 || c.Epoch != i.epoch || c.Number != i.number+1:
		i.complete = false // a change between was lost
		return Answer{Epoch: i.epoch}
	}
	for _, channel := range c.Add {
		i.channels[channel] = struct{}{}
	}
	for _, channel := range c.Remove {
		delete(i.channels, channel)
	}
	i.number, i.at = c.Number, now
	if len(i.channels) > maxInterest {
		i.channels, i.overfull = make(map[fsm.ChannelKey]struct{}), true
	}
	i.complete = (i.complete || c.Complete) && !i.overfull
	return Answer{Taken: true, Epoch: i.epoch}
}

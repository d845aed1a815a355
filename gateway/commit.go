package gateway

import (
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
)

// commit is what a loop has to deliver to the subscribers of one channel.
type commit struct {
	channel   fsm.ChannelKey
	messages  []fsm.Message
	transient bool // never logged: has no offset

	// Of the loop that delivers it.
	local *localChannel
	owned bool // messages is not shared with others
}

// What a commit and each of its messages take besides names and payloads, about.
const (
	commitOverhead  = 80
	messageOverhead = 40
)

// bytes is about how much memory the commit takes.
func (c *commit) bytes() int {
	size := commitOverhead + len(c.messages)*messageOverhead
	for i := range c.messages {
		size += len(c.messages[i].Data)
	}
	return size
}

// absorb joins next, of the same channel, to c. It reports false when the two
// are not of one kind or leave out an offset.
func (c *commit) absorb(next *commit) bool {
	if c.transient != next.transient ||
		!c.transient && next.messages[0].Offset != c.messages[len(c.messages)-1].Offset+1 {
		return false
	}
	if !c.owned {
		c.messages, c.owned = slices.Clip(c.messages), true
	}
	c.messages = append(c.messages, next.messages...)
	return true
}

package gateway

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/aptlyd/aptlyd/fsm"
)

// TestInterestKeepsANameOnce has several loops come and go with copies of a name of
// their own, and sees that all keep the same bytes.
func TestInterestKeepsANameOnce(t *testing.T) {
	in := newInterest()
	key := func() fsm.ChannelKey { return fsm.ChannelKey{Project: "p", Name: strings.Clone("a channel")} }
	bytes := func(key fsm.ChannelKey) *byte { return unsafe.StringData(key.Name) }
	first := in.add(key(), 0)
	for loop := 1; loop < 4; loop++ {
		if kept := in.add(key(), loop); bytes(kept) != bytes(first) {
			t.Errorf("loop %d keeps a copy", loop)
		}
	}
	if in.remove(key(), 0) {
		t.Error("the last loop has gone while others are there")
	}
	for _, kept := range append(in.list(), in.add(key(), 0)) {
		if bytes(kept) != bytes(first) {
			t.Error("a copy took the place of the name")
		}
	}
}

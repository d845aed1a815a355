package gateway

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
)

// Who was told "subscribed" gets the messages of other nodes, so these must have
// been asked for before; and nobody asks for what has no subscriber.
func TestSubscribedWaitsForTheOtherNodes(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		asked := make(chan func(), 1)
		channel := h.channel("cursors")
		h.broker.set(func() {
			h.broker.attend = func(channels []fsm.ChannelKey, then func()) bool {
				if !slices.Equal(channels, []fsm.ChannelKey{channel}) || !h.server.HasSubscribers(channel) {
					t.Errorf("asked for %v, attends %v", channels, h.server.HasSubscribers(channel))
				}
				asked <- then
				return true
			}
		})
		first, second := h.open(h.public), h.open(h.public)
		first.text(`{"type":"subscribe","channel":"cursors"}`)
		then := <-asked
		first.wantSilence()
		then()
		first.want("subscribed")
		second.text(`{"type":"subscribe","channel":"cursors"}`)
		(<-asked)()
		second.want("subscribed")

		h.server.Transient([]fsm.Appended{
			{Channel: h.channel("other"), Messages: []fsm.Message{{Timestamp: 1, Data: []byte("0")}}},
			{Channel: channel, Messages: []fsm.Message{{Timestamp: 1, Data: []byte("1")}, {Timestamp: 1, Data: []byte("2")}}},
		})
		for _, c := range []*client{first, second} {
			for _, want := range []string{"1", "2"} {
				if m := c.want("message"); string(m.Data) != want || string(m.Offset) != "0" {
					t.Errorf("got %s, want %s", m, want)
				}
			}
		}
		ignored := func(n int) func() string {
			return func() string {
				h.broker.mu.Lock()
				defer h.broker.mu.Unlock()
				if len(h.broker.ignored) != n || h.server.HasSubscribers(channel) == (n > 0) {
					return fmt.Sprintf("ignored %v, attended %v", h.broker.ignored, h.server.SubscribedChannels())
				}
				return ""
			}
		}
		first.text(`{"type":"unsubscribe","channel":"cursors"}`)
		first.want("unsubscribed")
		eventually(t, ignored(0))
		if err := second.socket.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, ignored(1))
	})
}

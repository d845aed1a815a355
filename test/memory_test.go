package test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/aptlyd/aptlyd/client"
)

// Memory channels promise little, but this: while nothing fails, a subscriber
// that was told so gets what is published after that, on whichever node.
func TestMemoryChannelsReachEveryNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	project := defaultProject(t, c)
	rules := []client.Rule{{Pattern: "cursor:*", Durability: "memory"}}
	if _, err := admin(c, 0).UpdateProject(within(t, deadline), project.ID,
		client.ProjectChange{Rules: &rules}); err != nil {
		t.Fatal(err)
	}
	restarted := rounds(t, 1, 3)
	for round := range restarted + 1 {
		if round > 0 {
			if err := c.Kill(round % 3); err != nil {
				t.Fatal(err)
			}
			if err := c.Restart(within(t, deadline), round%3); err != nil {
				t.Fatal(err)
			}
		}
		var pairs sync.WaitGroup
		for from := range 3 {
			publisher := connect(t, c, c.keys().server, from)
			for to := range 3 {
				subscriber := connect(t, c, c.keys().public, to)
				pairs.Go(func() {
					for n := range 30 {
						channel := fmt.Sprintf("cursor:%d-%d-%d-%d", round, from, to, n%20)
						exchange(t, publisher, subscriber, channel)
					}
				})
			}
		}
		pairs.Wait()
	}
}

// exchange subscribes, publishes some messages at once, and waits for all.
func exchange(t *testing.T, publisher, subscriber *client.Client, channel string) {
	const messages = 20
	arrived := make(chan int, messages)
	s, err := subscriber.Subscribe(within(t, deadline), channel, client.SubscribeOptions{
		OnMessage: func(m client.Message) {
			var n int
			if err := json.Unmarshal(m.Data, &n); err != nil || m.Offset != 0 {
				t.Errorf("%s: %s at offset %d, %v", channel, m.Data, m.Offset, err)
			}
			arrived <- n
		},
	})
	if err != nil {
		t.Error(err)
		return
	}
	var answered sync.WaitGroup
	defer answered.Wait()
	for n := range messages {
		answered.Add(1)
		err := publisher.PublishAsync(within(t, deadline), client.Publication{Channel: channel, Data: n},
			func(_ client.Receipt, err error) {
				defer answered.Done()
				if err != nil {
					t.Errorf("%s: %v", channel, err)
				}
			})
		if err != nil {
			answered.Done()
			t.Error(err)
		}
	}
	late := within(t, deadline)
	for want := range messages {
		select {
		case n := <-arrived:
			if n != want {
				t.Errorf("%s: message %d came in the place of %d", channel, n, want)
			}
		case <-late.Done():
			t.Errorf("%s: message %d never came", channel, want)
			return
		}
	}
	s.Unsubscribe()
}

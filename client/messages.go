package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
)

// messagesAhead bounds the messages that wait for a loop over Messages.
const messagesAhead = 64

// Messages follows a channel in a loop:
//
//	for m, err := range c.Messages(ctx, "news", client.SubscribeOptions{}) { … }
//
// OnMessage of the options is not used. The loop ends with an error when the
// subscription does, and without one when its body or ctx ends it; the channel is then
// left. While the body runs only few messages are read ahead.
func (c *Client) Messages(ctx context.Context, channel string, options SubscribeOptions) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		messages := make(chan Message, messagesAhead)
		over := make(chan struct{})
		defer close(over)
		options.OnMessage = func(m Message) {
			select {
			case messages <- m:
			case <-over:
			case <-ctx.Done():
			}
		}
		s, err := c.Subscribe(ctx, channel, options)
		if err != nil {
			if ctx.Err() == nil {
				yield(Message{}, err)
			}
			return
		}
		defer s.Unsubscribe()
		for {
			select {
			case m := <-messages:
				if !yield(m, nil) {
					return
				}
			case <-ctx.Done():
				return
			case <-s.Done():
				for len(messages) > 0 {
					if !yield(<-messages, nil) {
						return
					}
				}
				yield(Message{}, fmt.Errorf("follow %q: %w", channel, s.Err()))
				return
			}
		}
	}
}

// Decode returns a message's data as a T.
func Decode[T any](m Message) (T, error) {
	var value T
	if err := json.Unmarshal(m.Data, &value); err != nil {
		return value, fmt.Errorf("decode message %d of %q: %w", m.Offset, m.Channel, err)
	}
	return value, nil
}

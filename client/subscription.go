package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Message is one message of a channel.
type Message struct {
	Channel   string          `json:"channel"`
	Data      json.RawMessage `json:"data"`      // the JSON value as it was published
	Offset    uint64          `json:"offset"`    // 1 for the channel's first message; 0 in channels that are not logged
	Timestamp int64           `json:"timestamp"` // the cluster's stamp, Unix ms
	Replay    bool            `json:"replay"`    // it was published before the subscription caught up
}

// Gap says which messages are no longer retained and will not come.
type Gap struct {
	Channel  string
	From, To uint64 // both inclusive
}

// Reset says that the offsets known so far mean nothing any more, because the
// cluster was restored from a backup or is another one. The subscription goes
// on with whatever the server sends next.
type Reset struct {
	Channel string
	Last    uint64 // offset of the last message before the reset
	Head    uint64 // offset of the channel's newest message after it
	Epoch   string // names the new numbering
}

// SubscribeOptions say where a subscription starts and who hears of it. All
// functions are called by the client's one reading goroutine, in channel order.
// While one runs nothing is read, which is how a slow one slows the server down;
// so it must not wait for the same client: publish with PublishAsync from there,
// and never call Close of the client.
type SubscribeOptions struct {
	// From is where to start. The zero Position leaves it to the channel's rule.
	From Position
	// Epoch names the numbering that From belongs to. It may be empty.
	Epoch string
	// OnMessage gets every message, in offset order, each at most once. Needed.
	OnMessage func(Message)
	// OnGap, if set, hears of messages that cannot come any more.
	OnGap func(Gap)
	// OnReset, if set, hears that offsets start anew.
	OnReset func(Reset)
}

// Faults counts what a server sent against its own contract. None of it reached
// OnMessage.
type Faults struct {
	Repeated uint64 // messages whose offset had been delivered before
	Skipped  uint64 // times that an offset was skipped without a gap being announced
}

// Subscription is a channel being followed across reconnects.
type Subscription struct {
	client  *Client
	channel string
	options SubscribeOptions

	// Guarded by client.mu.
	position Position // what to ask for as long as known is false
	known    bool     // last is where to resume
	last     uint64   // offset of the last message delivered
	epoch    string
	live     bool   // confirmed on the present connection
	refusals int    // passing ones in a row
	refusal  *Error // the last of those
	faults   Faults
	err      error
	ready    chan struct{} // closed with the first confirmation
	done     chan struct{} // closed when err is set
}

// errSubscribed refuses a second subscription to one channel.
var errSubscribed = errors.New("already subscribed on this client")

// Subscribe follows a channel and returns once the server has confirmed it,
// which ctx bounds. From then on the subscription lives until Unsubscribe or
// the client's end; after a lost connection it resumes where it was. A client
// has at most one subscription per channel. The error is an *Error when the
// server refused.
func (c *Client) Subscribe(ctx context.Context, channel string, options SubscribeOptions) (*Subscription, error) {
	if options.OnMessage == nil {
		return nil, fmt.Errorf("subscribe to %q: OnMessage is missing", channel)
	}
	s := &Subscription{
		client:   c,
		channel:  channel,
		options:  options,
		position: options.From,
		epoch:    options.Epoch,
		ready:    make(chan struct{}),
		done:     make(chan struct{}),
	}
	if options.From.kind == fromOffset && (options.From.value > 0 || options.Epoch != "") {
		s.known, s.last = true, options.From.value
	}
	c.mu.Lock()
	err := c.err
	if err == nil && c.subscriptions[channel] != nil {
		err = errSubscribed
	}
	if err != nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("subscribe to %q: %w", channel, err)
	}
	c.subscriptions[channel] = s
	s.askLocked()
	c.mu.Unlock()

	select {
	case <-s.ready:
		return s, nil
	case <-s.done:
		err = s.Err()
	case <-ctx.Done():
		err = s.waited(ctx.Err())
		s.Unsubscribe()
	}
	return nil, fmt.Errorf("subscribe to %q: %w", channel, err)
}

func (s *Subscription) waited(ended error) error {
	s.client.mu.Lock()
	refusal := s.refusal
	s.client.mu.Unlock()
	return s.client.waited(ended, refusal)
}

// Unsubscribe ends the subscription. A call of OnMessage that is under way
// finishes, no other follows.
func (s *Subscription) Unsubscribe() {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.err != nil {
		return
	}
	s.endLocked(ErrClosed)
	if c.conn != nil {
		c.leaving[s.channel]++
		c.conn.send(encodeUnsubscribe(s.channel))
	}
}

// Done is closed when the subscription has ended; Err then says why.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err returns nil while the subscription lives, then ErrClosed or the *Error
// that the server refused it with.
func (s *Subscription) Err() error {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.err
}

// Position returns the offset of the last message that was handed to OnMessage
// or skipped by a gap, and the epoch it belongs to: what to resume from, in
// another process too. With nothing known yet ok is false.
func (s *Subscription) Position() (offset uint64, epoch string, ok bool) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.last, s.epoch, s.known
}

// Faults returns what the server has done wrong so far.
func (s *Subscription) Faults() Faults {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.faults
}

// askLocked sends the subscribe frame where there is a connection.
func (s *Subscription) askLocked() {
	s.live = false
	if s.client.conn == nil {
		return
	}
	from, epoch := s.position, ""
	if s.known {
		from, epoch = After(s.last), s.epoch
	}
	s.client.conn.send(encodeSubscribe(s.channel, from, epoch))
}

func (s *Subscription) endLocked(err error) {
	s.err = err
	close(s.done)
	delete(s.client.subscriptions, s.channel)
}

// confirmed takes a "subscribed" frame.
func (s *Subscription) confirmed(f *frame) {
	c := s.client
	c.mu.Lock()
	if s.err != nil {
		c.mu.Unlock()
		return
	}
	old := s.last
	renumbered := s.epoch != "" && f.Epoch != "" && f.Epoch != s.epoch
	behind := s.known && f.Recovered != nil && !*f.Recovered && f.Offset < s.last
	reset := renumbered || behind
	if reset {
		s.known, s.last = false, 0
		// Should the connection be lost before the first message of the new
		// numbering, nothing of it may be missed.
		s.position = All()
	}
	if f.Epoch != "" {
		s.epoch = f.Epoch
	}
	// Where the channel is empty, whatever comes next comes after its head.
	empty := f.Earliest > f.Offset
	if !s.known && !reset && (empty || s.position.kind == fromLive || s.position == Last(0)) {
		s.known, s.last = true, f.Offset
	}
	first := !s.live && !isClosed(s.ready)
	s.live, s.refusals = true, 0
	c.mu.Unlock()

	if reset && s.options.OnReset != nil {
		s.options.OnReset(Reset{Channel: s.channel, Last: old, Head: f.Offset, Epoch: f.Epoch})
	}
	if first {
		close(s.ready)
	}
}

// refused takes an error frame that names the channel.
func (s *Subscription) refused(conn *conn, refusal *Error) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.live || s.err != nil {
		return
	}
	if !refusal.passing() {
		s.endLocked(refusal)
		return
	}
	wait := max(refusal.RetryAfter, c.timing.backoff.delay(s.refusals))
	s.refusals++
	s.refusal = refusal
	time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.conn == conn && s.err == nil && !s.live {
			s.askLocked()
		}
	})
}

// errSkipped ends a connection that skipped an offset: the next one resumes
// after the last message that came in order.
var errSkipped = errors.New("the server skipped an offset without announcing a gap")

// received takes a "message" frame.
func (s *Subscription) received(f *frame) error {
	c := s.client
	c.mu.Lock()
	if !s.live || s.err != nil {
		c.mu.Unlock()
		return nil //nolint:nilerr // the subscription's end is told elsewhere; the connection goes on
	}
	if f.Offset != 0 {
		if s.known && f.Offset <= s.last {
			s.faults.Repeated++
			c.mu.Unlock()
			return nil
		}
		// Resuming after 0 asks for everything retained, which may start later.
		if s.known && f.Offset != s.last+1 && s.last != 0 {
			s.faults.Skipped++
			c.mu.Unlock()
			return fmt.Errorf("channel %q, offset %d after %d: %w", s.channel, f.Offset, s.last, errSkipped)
		}
		s.known, s.last = true, f.Offset
	}
	c.mu.Unlock()
	s.options.OnMessage(Message{
		Channel:   s.channel,
		Data:      f.Data,
		Offset:    f.Offset,
		Timestamp: f.Timestamp,
		Replay:    f.Replay,
	})
	return nil
}

// missed takes a "gap" frame.
func (s *Subscription) missed(f *frame) {
	c := s.client
	c.mu.Lock()
	if !s.live || s.err != nil || s.known && f.To <= s.last {
		c.mu.Unlock()
		return
	}
	s.known, s.last = true, f.To
	c.mu.Unlock()
	if s.options.OnGap != nil {
		s.options.OnGap(Gap{Channel: s.channel, From: f.From, To: f.To})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

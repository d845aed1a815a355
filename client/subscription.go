package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// From says where to start. The zero Position leaves it to the channel's rule.
	From Position
	// Epoch names the numbering that From belongs to. It may be empty.
	Epoch string
	// OnMessage gets every message, in offset order, each at most once. Needed.
	OnMessage func(Message)
	// OnGap, if set, hears of messages that cannot come any more.
	OnGap func(Gap)
	// OnReset, if set, hears that offsets start anew.
	OnReset func(Reset)
	// LoadState, if set, loads the application's state and returns the offset and epoch
	// that it is as of; From and Epoch are then not looked at. Subscribe calls it first,
	// and a goroutine of the client whenever not all that follows the state is there:
	// until it returns OnMessage is not called. An error is tried again.
	LoadState func(ctx context.Context) (offset uint64, epoch string, err error)
}

// Faults counts what a server sent against its own contract. None of it reached
// OnMessage.
type Faults struct {
	Repeated uint64 // messages whose offset had been delivered before
	Skipped  uint64 // times that an offset was skipped without a gap being announced
}

// Subscription is one handler of a channel that is followed across reconnects.
type Subscription struct {
	cursor  *cursor
	options SubscribeOptions
	done    chan struct{} // closed when err is set
	err     error         // guarded by client.mu
}

// cursor is a channel being followed, with all handlers that it has. The server sees one
// subscription, however many they are.
type cursor struct {
	client  *Client
	channel string
	first   SubscribeOptions // of the handler that it began with

	// Guarded by client.mu.
	handlers []*Subscription // replaced, never changed
	position Position        // what to ask for as long as known is false
	known    bool            // last is where to resume
	last     uint64          // offset of the last message delivered
	had      uint64          // last, when the present connection took over from a draining one
	epoch    string
	live     bool   // confirmed on the present connection
	ahead    *link  // successor that it was asked for on
	loading  bool   // LoadState is under way
	refusals int    // passing ones in a row
	refusal  *Error // the last of those
	faults   Faults
	err      error
	ready    chan struct{} // closed with the first confirmation
}

var errLater = errors.New("the channel is followed already: a further handler gets what comes from now on, " +
	"and loads no state")

// Subscribe follows a channel and returns once the server has confirmed it,
// which ctx bounds. From then on the subscription lives until Unsubscribe or
// the client's end; after a lost connection it resumes where it was. A channel may
// have several subscriptions; those after the first get what comes from then on. The
// error is an *Error when the server refused.
func (c *Client) Subscribe(ctx context.Context, channel string, options SubscribeOptions) (*Subscription, error) {
	if options.OnMessage == nil {
		return nil, fmt.Errorf("subscribe to %q: OnMessage is missing", channel)
	}
	h, err := c.follow(ctx, channel, options)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", channel, err)
	}
	select {
	case <-h.cursor.ready:
		return h, nil
	case <-h.done:
		err = h.Err()
	case <-ctx.Done():
		err = h.cursor.waited(ctx.Err())
		h.Unsubscribe()
	}
	return nil, fmt.Errorf("subscribe to %q: %w", channel, err)
}

// follow adds a handler to a channel, and asks the server for it where it is the first.
func (c *Client) follow(ctx context.Context, channel string, options SubscribeOptions) (*Subscription, error) {
	if options.LoadState != nil {
		offset, epoch, err := options.LoadState(ctx)
		if err != nil {
			return nil, fmt.Errorf("load state: %w", err)
		}
		options.From, options.Epoch = After(offset), epoch
	}
	h := &Subscription{options: options, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if s := c.subscriptions[channel]; s != nil {
		if later := options.From == (Position{}) || options.From == Live(); !later || options.LoadState != nil {
			return nil, errLater
		}
		h.cursor = s
		s.handlers = append(slices.Clone(s.handlers), h)
		return h, nil
	}
	s := &cursor{
		client: c, channel: channel, first: options, handlers: []*Subscription{h},
		position: options.From, epoch: options.Epoch, ready: make(chan struct{}),
	}
	h.cursor = s
	if options.From.kind == fromOffset && (options.From.value > 0 || options.Epoch != "") {
		s.known, s.last = true, options.From.value
	}
	c.subscriptions[channel] = s
	if c.link != nil && c.unheard[channel] {
		c.unsubscribeLocked(channel, nil)
	}
	s.askLocked()
	return h, nil
}

func (s *cursor) waited(ended error) error {
	s.client.mu.Lock()
	refusal := s.refusal
	s.client.mu.Unlock()
	return s.client.waited(ended, refusal)
}

// Unsubscribe ends the subscription. A call of OnMessage that is under way
// finishes, no other follows. A Presence in the channel goes on; until it is closed the server
// still sends the channel's messages.
func (h *Subscription) Unsubscribe() {
	s := h.cursor
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.err != nil {
		return
	}
	if len(s.handlers) > 1 {
		s.handlers = slices.DeleteFunc(slices.Clone(s.handlers), func(other *Subscription) bool { return other == h })
		h.endLocked(ErrClosed)
		return
	}
	s.endLocked(ErrClosed)
	if c.takesPartLocked(s.channel) {
		return // to unsubscribe would be to leave
	}
	c.unsubscribeLocked(s.channel, s.ahead)
}

// Done is closed when the subscription has ended; Err then says why.
func (h *Subscription) Done() <-chan struct{} { return h.done }

// Err returns nil while the subscription lives, then ErrClosed or the *Error
// that the server refused it with.
func (h *Subscription) Err() error {
	h.cursor.client.mu.Lock()
	defer h.cursor.client.mu.Unlock()
	return h.err
}

// Position returns the offset of the last message that was handed to OnMessage
// or skipped by a gap, and the epoch it belongs to: what to resume from, in
// another process too. With nothing known yet ok is false.
func (h *Subscription) Position() (offset uint64, epoch string, ok bool) {
	s := h.cursor
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.last, s.epoch, s.known
}

// Faults returns what the server has done wrong so far in this channel.
func (h *Subscription) Faults() Faults {
	h.cursor.client.mu.Lock()
	defer h.cursor.client.mu.Unlock()
	return h.cursor.faults
}

func (h *Subscription) endLocked(err error) {
	h.err = err
	close(h.done)
}

// each calls what is still subscribed, in the order of the subscriptions.
func (s *cursor) each(handlers []*Subscription, call func(o *SubscribeOptions)) {
	for _, h := range handlers {
		if len(handlers) == 1 || !isClosed(h.done) {
			call(&h.options)
		}
	}
}

// askLocked sends the subscribe frame where there is a connection.
func (s *cursor) askLocked() {
	s.live = false
	if s.client.link != nil && !s.loading {
		s.sendLocked(s.client.link)
	}
}

// subscribeLocked sends the subscribe frame to the successor of the present connection.
func (s *cursor) subscribeLocked(next *link) {
	s.ahead = next
	s.sendLocked(next)
}

func (s *cursor) sendLocked(l *link) {
	from, epoch := s.position, ""
	if s.known {
		from, epoch = After(s.last), s.epoch
	}
	l.conn.send(encodeSubscribe(s.channel, from, epoch, s.first.LoadState != nil && l.strict))
}

func (s *cursor) endLocked(err error) {
	s.err = err
	for _, h := range s.handlers {
		h.endLocked(err)
	}
	delete(s.client.subscriptions, s.channel)
}

// reload loads the application's state anew and goes on from there.
func (s *cursor) reload() {
	c := s.client
	for retry := 0; ; retry++ {
		offset, epoch, err := s.first.LoadState(c.ctx)
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			s.loading = false
			if s.err == nil {
				s.position, s.epoch = After(offset), epoch
				s.last, s.known = offset, offset > 0 || epoch != ""
				s.askLocked()
			}
			return
		}
		c.log.Warn("load state", "channel", s.channel, "err", err)
		if !pause(c.ctx, c.timing.backoff.delay(retry)) {
			return
		}
	}
}

// confirmed takes a "subscribed" frame.
func (s *cursor) confirmed(f *frame) {
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
	handlers := s.handlers
	c.mu.Unlock()

	if reset {
		s.each(handlers, func(o *SubscribeOptions) {
			if o.OnReset != nil {
				o.OnReset(Reset{Channel: s.channel, Last: old, Head: f.Offset, Epoch: f.Epoch})
			}
		})
	}
	if first {
		close(s.ready)
	}
}

// refused takes an error frame that names the channel.
func (s *cursor) refused(conn *conn, refusal *Error) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.live || s.err != nil {
		return
	}
	if refusal.Code == CodeUnrecoverable && s.first.LoadState != nil {
		s.loading = true
		c.loading.Go(s.reload)
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
func (s *cursor) received(f *frame) error {
	c := s.client
	c.mu.Lock()
	if !s.live || s.err != nil {
		c.mu.Unlock()
		return nil //nolint:nilerr // the subscription's end is told elsewhere; the connection goes on
	}
	if f.Offset != 0 {
		if s.known && f.Offset <= s.last {
			if f.Offset > s.had { // else the connection before was ahead
				s.faults.Repeated++
			}
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
	handlers := s.handlers
	c.mu.Unlock()
	m := Message{
		Channel:   s.channel,
		Data:      f.Data,
		Offset:    f.Offset,
		Timestamp: f.Timestamp,
		Replay:    f.Replay,
	}
	s.each(handlers, func(o *SubscribeOptions) { o.OnMessage(m) })
	return nil
}

// missed takes a "gap" frame.
func (s *cursor) missed(f *frame) {
	c := s.client
	c.mu.Lock()
	if !s.live || s.err != nil || s.known && f.To <= s.last {
		c.mu.Unlock()
		return
	}
	s.known, s.last = true, f.To
	handlers := s.handlers
	c.mu.Unlock()
	s.each(handlers, func(o *SubscribeOptions) {
		if o.OnGap != nil {
			o.OnGap(Gap{Channel: s.channel, From: f.From, To: f.To})
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// subscription returns who follows a channel. While an unsubscribe of an
// earlier subscription is unanswered, frames are still that one's.
func (c *Client) subscription(channel string) *cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving[channel] > 0 {
		return nil
	}
	return c.subscriptions[channel]
}

// left takes an "unsubscribed" frame.
func (c *Client) left(channel string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving[channel]--; c.leaving[channel] > 0 {
		return
	}
	delete(c.leaving, channel)
	for _, p := range c.presences {
		if p.channel == channel && c.link != nil {
			p.takeUpLocked(c.link) // to unsubscribe was to leave
		}
	}
}

// notHeard notes that a message was for nobody. The server will not send it again on this
// connection, unless the channel is unsubscribed.
func (c *Client) notHeard(channel string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving[channel] == 0 {
		c.unheard[channel] = true
	}
}

// unsubscribeLocked has the present connection bring nothing more of a channel, and its successor
// if it was asked for the channel.
func (c *Client) unsubscribeLocked(channel string, ahead *link) {
	delete(c.unheard, channel)
	if c.conn != nil {
		c.leaving[channel]++
		c.conn.send(encodeUnsubscribe(channel))
	}
	if n := c.next; n != nil && ahead == n.link {
		n.leaving[channel]++
		n.conn.send(encodeUnsubscribe(channel))
	}
}

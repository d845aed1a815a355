package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Publication is one message to be published.
type Publication struct {
	Channel string
	// Data is the message: a json.RawMessage as it is, anything else as
	// encoding/json renders it.
	Data any
	// ID makes repeating safe: within the broker's ten minutes one ID is stored
	// once per channel. Empty lets the client make one. At most 128 bytes.
	ID string
}

// Receipt says where a message was stored.
type Receipt struct {
	Offset    uint64 // 0 in channels that are not logged
	Timestamp int64  // the cluster's stamp, Unix ms
	ID        string // also set beside an error, for repeating the publish
	Duplicate bool   // the ID had been stored before; Offset is that of the first time
	Attempts  int    // how often it was sent
}

// payload renders Data.
func (p Publication) payload() ([]byte, error) {
	if raw, ok := p.Data.(json.RawMessage); ok {
		if !json.Valid(raw) {
			return nil, errors.New("the data is not one JSON value")
		}
		return raw, nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p.Data); err != nil {
		return nil, fmt.Errorf("encode data: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// publishKey identifies a publish in the broker's answers.
type publishKey struct{ channel, id string }

// publish is a Publication on its way. The first group of fields never changes,
// the second is guarded by Client.mu.
type publish struct {
	key   publishKey
	frame []byte
	size  int // bytes of payload
	turn  uint64
	done  func(Receipt, error)

	stop     func() bool // ends the watch on the caller's context; nil without one
	attempts int
	first    time.Time // when it was first sent
	sent     bool      // on the present connection, and not yet answered
	paused   bool      // refused for the moment; a timer sends it again
	unclear  bool      // an earlier attempt may have succeeded
	refusal  *Error    // the last one, which passes
}

// Publish stores a message and returns once a majority of the nodes has it. It
// repeats the publish, under one ID, across lost connections and passing
// refusals until ctx ends. The error is or wraps an *Error when the broker
// refused, and ErrUnknown when the message may have been stored all the same.
func (c *Client) Publish(ctx context.Context, p Publication) (Receipt, error) {
	type outcome struct {
		receipt Receipt
		err     error
	}
	result := make(chan outcome, 1)
	err := c.PublishAsync(ctx, p, func(r Receipt, err error) { result <- outcome{r, err} })
	if err != nil {
		return Receipt{ID: p.ID}, err
	}
	o := <-result
	return o.receipt, o.err
}

// PublishAsync is Publish without the wait: done is called exactly once with
// the outcome, by one of the client's goroutines, and must not block. When as
// many publishes are under way as Options.MaxInFlight says, PublishAsync first
// waits for one of them. Messages leave in the order of the calls; within a
// channel they are stored in that order as long as the connection stands and
// none is refused. When PublishAsync returns an error, done is not called.
func (c *Client) PublishAsync(ctx context.Context, p Publication, done func(Receipt, error)) error {
	payload, err := p.payload()
	if err != nil {
		return fmt.Errorf("publish to %q: %w", p.Channel, err)
	}
	if !utf8.ValidString(p.Channel) || !utf8.ValidString(p.ID) {
		return fmt.Errorf("publish to %q: channel and ID must be valid UTF-8", p.Channel)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish to %q: %w", p.Channel, err)
	}
	select {
	case c.window <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("publish to %q: %w", p.Channel, ctx.Err())
	case <-c.done:
		return fmt.Errorf("publish to %q: %w", p.Channel, c.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	if p.ID == "" {
		p.ID = c.idPrefix + strconv.FormatUint(c.turn, 36)
	}
	key := publishKey{p.Channel, p.ID}
	if err = c.err; err == nil && c.publishes[key] != nil {
		err = fmt.Errorf("a publish with ID %q is under way", p.ID)
	}
	if err != nil {
		<-c.window
		return fmt.Errorf("publish to %q: %w", p.Channel, err)
	}
	pub := &publish{
		key:   key,
		frame: encodePublish(p.Channel, p.ID, payload),
		size:  len(payload),
		turn:  c.turn,
		done:  done,
	}
	if err := c.sendLocked(pub); err != nil {
		<-c.window
		return fmt.Errorf("publish to %q: %w", p.Channel, err)
	}
	c.publishes[key] = pub
	if ctx.Done() != nil {
		pub.stop = context.AfterFunc(ctx, func() { c.settle(pub, nil, c.waited(ctx.Err(), pub.lastRefusal(c))) })
	}
	return nil
}

func (p *publish) lastRefusal(c *Client) *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.refusal
}

// sendLocked sends a publish where there is a connection. An error means that it
// cannot be sent any more.
func (c *Client) sendLocked(p *publish) error {
	if c.conn == nil || p.paused || c.holding {
		return nil
	}
	if limit := c.session.MaxMessageBytes; limit > 0 && p.size > limit {
		// The server might close the connection over it, after each reconnect.
		return &Error{
			Code:   CodeMessageTooLarge,
			Reason: fmt.Sprintf("a message of %d bytes is over the limit of %d", p.size, limit),
		}
	}
	if p.unclear && time.Since(p.first) > c.timing.repeat {
		return errors.New("too late to repeat it")
	}
	if p.attempts == 0 {
		p.first = time.Now()
	}
	p.attempts++
	p.sent = true
	c.conn.send(p.frame)
	return nil
}

// resendLocked sends everything without an outcome over a new connection, in
// the order it was asked for. It returns what could not be sent.
func (c *Client) resendLocked() map[*publish]error {
	waiting := slices.SortedFunc(maps.Values(c.publishes), func(a, b *publish) int {
		return cmp.Compare(a.turn, b.turn)
	})
	hopeless := make(map[*publish]error)
	for _, p := range waiting {
		if err := c.sendLocked(p); err != nil {
			hopeless[p] = err
		}
	}
	return hopeless
}

// published takes a "published" frame.
func (c *Client) published(f *frame) {
	if p := c.underWay(f); p != nil {
		c.settle(p, f, nil)
	}
}

// publishRefused takes an error frame that names a publish.
func (c *Client) publishRefused(f *frame) {
	p := c.underWay(f)
	if p == nil {
		return
	}
	refusal := f.refusal()
	if !refusal.passing() {
		c.settle(p, nil, refusal)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.sent, p.paused, p.refusal = false, true, refusal
	p.unclear = p.unclear || refusal.Code == CodeOutcomeUnknown
	wait := max(refusal.RetryAfter, c.timing.backoff.delay(p.attempts-1))
	time.AfterFunc(wait, func() {
		c.mu.Lock()
		p.paused = false
		var err error
		if c.publishes[p.key] == p {
			err = c.sendLocked(p)
		}
		c.mu.Unlock()
		if err != nil {
			c.settle(p, nil, err)
		}
	})
}

// underWay returns the publish that an answer names, if it still waits for one
// from the present connection.
func (c *Client) underWay(f *frame) *publish {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.publishes[publishKey{f.Channel, f.ID}]
	if p == nil || !p.sent {
		return nil
	}
	return p
}

// settle gives a publish its outcome, unless it has one.
func (c *Client) settle(p *publish, stored *frame, err error) {
	c.mu.Lock()
	if c.publishes[p.key] != p {
		c.mu.Unlock()
		return
	}
	delete(c.publishes, p.key)
	receipt := Receipt{ID: p.key.id, Attempts: p.attempts}
	var refusal *Error
	refused := errors.As(err, &refusal)
	// A refusal speaks for the last attempt only; an internal fault of the
	// server speaks for none.
	unknown := p.unclear || p.sent && !refused || refused && refusal.Code == CodeInternal
	c.mu.Unlock()
	<-c.window

	if p.stop != nil {
		p.stop()
	}
	switch {
	case err == nil:
		receipt.Offset, receipt.Timestamp, receipt.Duplicate = stored.Offset, stored.Timestamp, stored.Duplicate
	case unknown:
		err = fmt.Errorf("publish to %q: %w: %w", p.key.channel, ErrUnknown, err)
	default:
		err = fmt.Errorf("publish to %q: %w", p.key.channel, err)
	}
	p.done(receipt, err)
}

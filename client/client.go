package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// Client is a connection to a cluster that renews itself: when one node goes
// away it connects to the next, subscribes again where it was and repeats what
// was not acknowledged. It ends for good only when it is closed or refused in a
// way that trying again cannot mend.
type Client struct {
	options   Options
	endpoints []string
	timing    timing
	log       *slog.Logger

	ctx        context.Context // ends when the client is to end
	cancel     context.CancelFunc
	done       chan struct{} // closed when everything has ended
	window     chan struct{} // one element per publish under way
	turns      atomic.Uint64 // endpoints tried so far
	background sync.WaitGroup
	loading    sync.WaitGroup // calls of LoadState

	mu            sync.Mutex
	link          *link // the present one; nil while there is none
	conn          *conn // of link
	next          *successor
	holding       bool // nothing is published until the successor takes over
	session       Session
	connected     chan struct{} // closed while conn is set
	err           error         // why the client ended
	failure       error         // why the last connection, or the last attempt at one, ended
	subscriptions map[string]*cursor
	presences     []*Presence
	leaving       map[string]int  // unsubscribes on conn without an answer, by channel
	unheard       map[string]bool // channels of which conn brought something that nobody followed
	publishes     map[publishKey]*publish
	turn          uint64 // numbers publishes
	idPrefix      string
}

// Session describes one authenticated connection, as the server introduced
// itself.
type Session struct {
	Endpoint        string // URL of the node
	Node            string // its name
	ConnectionID    string
	Epoch           string // names the numbering that offsets belong to
	MaxMessageBytes int    // 0 when the server did not say
}

// New returns a client that starts to connect at once. Subscribe and Publish
// may be called right away. The caller must Close it.
func New(options Options) (*Client, error) {
	return newClient(options, defaultTiming)
}

func newClient(options Options, timing timing) (*Client, error) {
	if err := options.Validate(); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	c := &Client{
		options:       options,
		timing:        timing,
		log:           options.Logger,
		done:          make(chan struct{}),
		window:        make(chan struct{}, DefaultMaxInFlight),
		connected:     make(chan struct{}),
		subscriptions: make(map[string]*cursor),
		publishes:     make(map[publishKey]*publish),
		idPrefix:      rand.Text() + "-",
	}
	if options.MaxInFlight > 0 {
		c.window = make(chan struct{}, options.MaxInFlight)
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	for _, endpoint := range options.Endpoints {
		url, err := socketURL(endpoint)
		if err != nil {
			return nil, fmt.Errorf("client options: %w", err)
		}
		c.endpoints = append(c.endpoints, url)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run(c.ctx)
	return c, nil
}

// Connect waits until the client is connected. The error is an *Error when the
// server refused the client for good, and says how the last attempt failed where ctx
// ended first.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	connected := c.connected
	c.mu.Unlock()
	select {
	case <-connected:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("connect: %w", c.waited(ctx.Err(), nil))
	}
}

// waited says why a wait that its context ended was in vain: refused, if it is not nil,
// or that there is no connection, and why.
func (c *Client) waited(ended error, refused *Error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &waitError{ended: ended}
	switch {
	case c.conn == nil:
		e.last = c.failure
	case refused != nil:
		e.last = refused
	}
	return e
}

// Session describes the present connection; without one ok is false.
func (c *Client) Session() (session Session, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.conn != nil
}

// Done is closed when the client has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil while the client lives, then ErrClosed or the *Error it was
// refused with.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends subscriptions, publishes without an outcome and the connection,
// and returns when all have ended. It may be called more than once, but not
// from a function that the client calls.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// maxRefusedTokens bounds the fresh tokens in a row that may be refused before that is final.
const maxRefusedTokens = 3

// run connects again and again until ctx ends or the server refuses for good.
func (c *Client) run(ctx context.Context) {
	retry, inVain, refusedTokens := 0, 0, 0
	for reason := Connecting; ; {
		endpoint := c.nextEndpoint()
		began := time.Now()
		err := c.serve(ctx, endpoint, reason)
		reason = Reconnecting
		var refusal *Error
		switch {
		case ctx.Err() != nil:
			c.end(ErrClosed)
			return
		case errors.As(err, &refusal):
			if refusedTokens++; c.options.Token == nil || !refusal.ofToken() || refusedTokens >= maxRefusedTokens {
				c.end(refusal)
				return
			}
			reason = Refused
		default:
			refusedTokens = 0
		}
		if inVain++; !hopeless(err) {
			inVain = 0
		}
		if c.failed(err) && c.options.FailFast && inVain >= len(c.endpoints) {
			c.end(err)
			return
		}
		if time.Since(began) > c.timing.stable {
			retry, refusedTokens = 0, 0
		}
		wait := c.timing.backoff.delay(retry)
		retry++
		c.log.Warn("connection lost", "endpoint", endpoint, "err", err, "retry_in", wait)
		pause(ctx, wait)
	}
}

// nextEndpoint returns the URL to try next.
func (c *Client) nextEndpoint() string {
	return c.endpoints[(c.turns.Add(1)-1)%uint64(len(c.endpoints))]
}

// failed notes why the last connection ended and reports whether there never was one.
func (c *Client) failed(err error) (never bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = err
	return c.session == Session{}
}

// end settles everything that waits.
func (c *Client) end(err error) {
	c.mu.Lock()
	c.err = err
	for _, s := range c.subscriptions {
		s.endLocked(err)
	}
	var waiting []*publish
	for _, p := range c.publishes {
		waiting = append(waiting, p)
	}
	c.mu.Unlock()
	for _, p := range waiting {
		c.settle(p, nil, err)
	}
	c.cancel()
	c.loading.Wait()
	close(c.done)
}

// serve lives through one connection, and those that take its place while its node
// drains. It returns an *Error, and only then, when the server wants the client not to
// come back.
func (c *Client) serve(ctx context.Context, endpoint string, reason TokenReason) error {
	l, err := c.open(ctx, endpoint, reason, "")
	if err != nil {
		return err
	}
	if c.options.OnConnect != nil {
		c.options.OnConnect(l.session)
	}
	c.attach(l)
	for l != nil {
		life, over := context.WithCancel(ctx)
		if c.options.Token != nil {
			c.background.Go(func() { c.renew(life, l.conn, l.token) })
		}
		err = c.dispatch(life, l)
		over()
		c.background.Wait()
		l.end()
		l = c.move()
	}
	c.detach()
	if c.options.OnDisconnect != nil {
		c.options.OnDisconnect(err)
	}
	return err
}

// open connects to an endpoint and authenticates, in place of the connection with the
// id replaces if that is not empty.
func (c *Client) open(ctx context.Context, endpoint string, reason TokenReason, replaces string) (_ *link, err error) {
	handshake, cancel := context.WithTimeout(ctx, c.timing.handshake)
	defer cancel()
	key, err := c.credential(handshake, reason)
	if err != nil {
		return nil, err
	}
	conn, err := dial(handshake, endpoint, &c.options, &c.timing)
	if err != nil {
		return nil, err
	}
	l := &link{
		conn: conn, token: key, reader: &reading{conn: conn}, written: make(chan struct{}),
		release: context.AfterFunc(c.ctx, conn.goodbye),
	}
	go func() {
		defer close(l.written)
		conn.write()
	}()
	defer func() {
		if err != nil {
			l.end()
		}
	}()
	inTime := context.AfterFunc(handshake, conn.close)
	defer inTime()
	conn.send(encodeAuth(key, replaces, time.Now()))
	connected, err := l.reader.handshake()
	if err != nil {
		if handshake.Err() != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("authenticate: no answer within %v", c.timing.handshake)
		}
		return nil, err
	}
	l.strict = slices.Contains(connected.Features, "strict")
	l.session = Session{
		Endpoint:        endpoint,
		Node:            connected.Node,
		ConnectionID:    connected.ConnectionID,
		Epoch:           connected.Epoch,
		MaxMessageBytes: connected.MaxMessageBytes,
	}
	return l, nil
}

// attach makes a link the present one and hands it all that is open.
func (c *Client) attach(l *link) {
	c.mu.Lock()
	c.link, c.conn, c.session = l, l.conn, l.session
	c.leaving, c.unheard = make(map[string]int), make(map[string]bool)
	for _, s := range c.subscriptions {
		s.askLocked()
	}
	for _, p := range c.presences {
		p.takeUpLocked(l)
	}
	hopeless := c.resendLocked()
	close(c.connected)
	c.mu.Unlock()
	for p, err := range hopeless {
		c.settle(p, nil, err)
	}
}

func (c *Client) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.conn, c.holding = nil, nil, false
	c.connected = make(chan struct{})
	c.forgetSentLocked()
}

// forgetSentLocked has everything sent again that was not answered.
func (c *Client) forgetSentLocked() {
	for _, p := range c.publishes {
		p.unclear = p.unclear || p.sent
		p.sent = false
	}
}

// dispatch hands each frame to whom it concerns until the connection ends.
func (c *Client) dispatch(ctx context.Context, l *link) error {
	for {
		f, err := l.reader.next()
		if err != nil {
			return err
		}
		switch f.Type {
		case "message":
			if s := c.subscription(f.Channel); s == nil {
				c.notHeard(f.Channel)
			} else if err := s.received(&f); err != nil {
				return err
			}
		case "published":
			c.published(&f)
		case "subscribed":
			if s := c.subscription(f.Channel); s != nil {
				s.confirmed(&f)
			}
		case "unsubscribed":
			c.left(f.Channel)
		case "gap":
			if s := c.subscription(f.Channel); s != nil {
				s.missed(&f)
			}
		case "presence_ok":
			c.presenceAnswered(&f)
		case "presence", "occupancy":
			if err := c.presenceTold(&f); err != nil {
				return err
			}
		case "error":
			c.refused(l.reader, &f)
		case "goaway":
			c.goAway(ctx, l, &f)
		}
		// A heartbeat needs no answer: that it came is the message. Frames of a
		// type that is not known are those of a newer server.
	}
}

func (c *Client) refused(r *reading, f *frame) {
	if c.presenceRefused(r.conn, f) {
		return
	}
	switch s := c.subscription(f.Channel); {
	case f.Presence != "":
		c.log.Warn("members are not shown", "code", f.Code, "reason", f.Reason, "channel", f.Channel)
	case f.ID != "":
		c.publishRefused(f)
	case s != nil:
		s.refused(r.conn, f.refusal())
	default:
		c.log.Warn("refused by server", "code", f.Code, "reason", f.Reason, "channel", f.Channel)
	}
}

// reading turns what a connection receives into frames, and its end into an
// error that says whether to come back.
type reading struct {
	conn    *conn
	refusal *Error  // the last refusal of the connection as a whole
	ahead   []frame // read already
}

func (r *reading) next() (frame, error) {
	if len(r.ahead) > 0 {
		f := r.ahead[0]
		r.ahead = r.ahead[1:]
		return f, nil
	}
	r.ahead = nil
	return r.receive()
}

func (r *reading) receive() (frame, error) {
	text, err := r.conn.next()
	if err != nil {
		var closed *closeError
		if !errors.As(err, &closed) || closed.status != ws.StatusNormalClosure {
			return frame{}, err
		}
		// 1000 is "do not come back", and the refusal before it says why.
		if r.refusal == nil {
			r.refusal = &Error{Reason: err.Error()}
		}
		return frame{}, r.refusal
	}
	f, err := decodeFrame(text)
	if err != nil {
		return frame{}, err
	}
	if f.Type == "error" && f.ID == "" && f.Channel == "" {
		r.refusal = f.refusal()
	}
	return f, nil
}

// handshake reads until the server counts the client as connected.
func (r *reading) handshake() (connected frame, err error) {
	for {
		f, err := r.receive()
		if err != nil {
			return frame{}, fmt.Errorf("authenticate: %w", err)
		}
		if f.Type == "connected" {
			return f, nil
		}
	}
}

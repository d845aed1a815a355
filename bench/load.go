package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aptlyd/aptlyd/client"
)

// Load publishes to every server and subscribes on every server, as in the ordinary life of
// a cluster, and accounts for every message.
type Load struct {
	Subscribers int           // connections, spread over servers and channels
	Channels    int           // new ones, made for this run
	Rate        float64       // messages per second over all servers; 0 publishes as fast as Window allows
	Size        int           // bytes of payload, at least MinSize
	Duration    time.Duration // for which is published
	Window      int           // publishes per server without an outcome
	Settle      time.Duration // to wait for what is under way at the end
	Progress    io.Writer     // gets a line each second; nil for none
	Logger      *slog.Logger  // of the clients; nil for none
}

// maxChannels bounds the channels that one connection may subscribe to.
const maxChannels = 1000

// Validate reports the first field that cannot be used.
func (l Load) Validate() error {
	err := cmp.Or(
		atLeast("subscribers", l.Subscribers, 1),
		atLeast("channels", l.Channels, 1),
		atLeast("rate", l.Rate, 0),
		atLeast("size", l.Size, MinSize),
		positive("duration", l.Duration),
		atLeast("window", l.Window, 1),
	)
	if err == nil && (l.Channels+l.Subscribers-1)/l.Subscribers > maxChannels {
		err = fmt.Errorf("channels: at most %d for each subscriber", maxChannels)
	}
	return err
}

// loadRun is one run of a Load.
type loadRun struct {
	Load
	Target
	id       uint32
	began    time.Time // what the payloads' times count from
	checker  *Checker
	ack      *stopwatch
	deliver  *stopwatch
	ended    chan struct{} // closed when publishing is over
	channels []string

	subscribers   []*client.Client
	subscriptions []*client.Subscription
	observers     []*Observer
	publishers    []*client.Client

	published, acknowledged, failed, unknown, repeated atomic.Uint64
	delivered                                          atomic.Uint64

	mu          sync.Mutex
	disconnects map[string]uint64 // by reason
}

// Run connects, publishes for Duration or until ctx ends, waits for outstanding messages
// and reports. An error means that there is nothing to report; broken promises are in the
// report.
func (l Load) Run(ctx context.Context, target Target) (Report, error) {
	if err := errors.Join(l.Validate(), target.Validate()); err != nil {
		return Report{}, err
	}
	r := &loadRun{
		Load:    l,
		Target:  target,
		id:      rand.Uint32(),
		began:   time.Now(),
		checker: NewChecker(l.Channels, len(target.Servers)),
		ack:     newStopwatch(),
		deliver: newStopwatch(),
		ended:   make(chan struct{}),

		disconnects: make(map[string]uint64),
	}
	for i := range l.Channels {
		r.channels = append(r.channels, fmt.Sprintf("bench:%08x:%d", r.id, i))
	}
	defer r.close()
	if err := r.connect(ctx); err != nil {
		return Report{}, err
	}
	return r.run(ctx)
}

func (r *loadRun) close() {
	for _, c := range slices.Concat(r.publishers, r.subscribers) {
		c.Close()
	}
}

// connect opens every connection and subscription.
func (r *loadRun) connect(ctx context.Context) error {
	for i := range r.Servers {
		c, err := r.client(i)
		if err != nil {
			return err
		}
		r.publishers = append(r.publishers, c)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for _, c := range r.publishers {
		group.Go(func() error { return c.Connect(ctx) })
	}
	for i := range r.Subscribers {
		// The step of one more each round keeps a channel from always meeting
		// the same server.
		c, err := r.client(i + i/r.Channels)
		if err != nil {
			return err
		}
		r.subscribers = append(r.subscribers, c)
	}
	type pair struct{ subscriber, channel int }
	var pairs []pair
	for i := range max(r.Subscribers, r.Channels) {
		pairs = append(pairs, pair{i % r.Subscribers, i % r.Channels})
	}
	r.subscriptions = make([]*client.Subscription, len(pairs))
	r.observers = make([]*Observer, len(pairs))
	for i, p := range pairs {
		r.observers[i] = r.checker.Observe(p.channel)
		group.Go(func() error {
			s, err := r.subscribers[p.subscriber].Subscribe(ctx, r.channels[p.channel], r.handlers(p.subscriber, r.observers[i]))
			r.subscriptions[i] = s
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// client returns a client that prefers one server and falls back on the others.
func (r *loadRun) client(server int) (*client.Client, error) {
	first := server % len(r.Servers)
	c, err := client.New(client.Options{
		Endpoints:    slices.Concat(r.Servers[first:], r.Servers[:first]),
		APIKey:       r.Key,
		MaxInFlight:  r.Window,
		Logger:       r.Logger,
		OnDisconnect: r.disconnected,
	})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return c, nil
}

// maxReasons bounds the different reasons of lost connections.
const maxReasons = 20

func (r *loadRun) disconnected(reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := reason.Error()
	if _, known := r.disconnects[text]; !known && len(r.disconnects) == maxReasons {
		text = "other reasons"
	}
	r.disconnects[text]++
}

// reconnects returns how many connections were lost so far, by reason.
func (r *loadRun) reconnects() (total uint64, reasons map[string]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.disconnects {
		total += n
	}
	return total, maps.Clone(r.disconnects)
}

func (r *loadRun) handlers(subscriber int, o *Observer) client.SubscribeOptions {
	return client.SubscribeOptions{
		From: client.All(),
		OnMessage: func(m client.Message) {
			p, err := decodePayload(m.Data)
			if err != nil || p.run != r.id {
				o.Corrupt(m.Offset)
				return
			}
			r.deliver.record(subscriber, time.Since(r.began)-p.sent)
			r.delivered.Add(1)
			o.Message(m.Offset, int(p.publisher), p.sequence)
		},
		OnGap: func(g client.Gap) { o.Gap(g.From, g.To) },
	}
}

// run publishes, waits and reports.
func (r *loadRun) run(ctx context.Context) (Report, error) {
	start := time.Now()
	publishing, stop := context.WithTimeout(ctx, r.Duration)
	defer stop()
	var group errgroup.Group
	for i := range r.publishers {
		group.Go(func() error { return r.publish(publishing, i) })
	}
	progress := make(chan struct{})
	go func() {
		defer close(progress)
		r.showProgress(start)
	}()
	err := group.Wait()
	seconds := time.Since(start).Seconds()
	settled := r.settle()
	close(r.ended)
	<-progress
	if err != nil {
		return Report{}, err
	}
	reconnects, reasons := r.reconnects()
	r.close()
	for _, s := range r.subscriptions {
		if err := s.Err(); !errors.Is(err, client.ErrClosed) {
			return Report{}, fmt.Errorf("a subscription ended early: %w", err)
		}
	}

	verdict, problems := r.checker.Judge()
	for _, s := range r.subscriptions {
		// The client hides these from its handlers.
		faults := s.Faults()
		verdict.Duplicated += faults.Repeated
		verdict.OutOfOrder += faults.Skipped
	}
	if r.acknowledged.Load() == 0 {
		problems = append(problems, "nothing was acknowledged")
	}
	if !settled {
		problems = append(problems, fmt.Sprintf("not everything had arrived %v after the end", r.Settle))
	}
	return Report{
		Servers:              len(r.Servers),
		Subscribers:          r.Subscribers,
		Channels:             r.Channels,
		Size:                 r.Size,
		Seconds:              seconds,
		Published:            r.published.Load(),
		Acknowledged:         r.acknowledged.Load(),
		Failed:               r.failed.Load(),
		Unknown:              r.unknown.Load(),
		Repeated:             r.repeated.Load(),
		Reconnects:           reconnects,
		Reasons:              reasons,
		Verdict:              verdict,
		Problems:             problems,
		PublishToAcknowledge: r.ack.latency(),
		PublishToDeliver:     r.deliver.latency(),
	}, nil
}

// publish sends messages through one server until ctx ends.
func (r *loadRun) publish(ctx context.Context, publisher int) error {
	start := time.Now()
	slots := make(chan struct{}, r.Window)
	behind := false // the window has held us up, and the schedule waits
	for sequence := uint64(1); ; sequence++ {
		due := r.due(start, publisher, sequence)
		behind = behind && time.Now().After(due)
		if !sleepUntil(ctx, due) {
			return nil
		}
		// At a fixed rate, waiting for a place is the server's delay and belongs
		// to the latency, also of those that queue behind; flat out it is what the
		// window is for. A timer that fires late is ours, not the server's.
		sent := time.Now()
		if behind {
			sent = due
		}
		select {
		case slots <- struct{}{}:
		default:
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			if behind = r.Rate > 0; !behind {
				sent = time.Now()
			}
		}
		if err := r.publishOne(publisher, sequence, sent, slots); err != nil {
			return err
		}
	}
}

// due returns the time for a publisher's next message: the publishers take
// turns. Flat out it is always now.
func (r *loadRun) due(start time.Time, publisher int, sequence uint64) time.Time {
	if r.Rate == 0 {
		return time.Time{}
	}
	turn := float64(sequence-1)*float64(len(r.publishers)) + float64(publisher)
	return start.Add(time.Duration(turn / r.Rate * float64(time.Second)))
}

func sleepUntil(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(wait):
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *loadRun) publishOne(publisher int, sequence uint64, sent time.Time, slots chan struct{}) error {
	channel := (int(sequence) + publisher) % r.Channels
	data := payload{
		run:       r.id,
		publisher: uint16(publisher),
		sequence:  sequence,
		sent:      sent.Sub(r.began),
	}.encode(r.Size)
	r.published.Add(1)
	// No context: after the settling time closing the client ends what is left.
	err := r.publishers[publisher].PublishAsync(context.Background(),
		client.Publication{Channel: r.channels[channel], Data: json.RawMessage(data)},
		func(receipt client.Receipt, err error) {
			switch {
			case err == nil:
				r.ack.record(publisher, time.Since(sent))
				r.checker.Acknowledged(channel, publisher, sequence, receipt.Offset, receipt.Attempts)
				r.acknowledged.Add(1)
				if receipt.Attempts > 1 {
					r.repeated.Add(1)
				}
			case errors.Is(err, client.ErrUnknown):
				r.unknown.Add(1)
			default:
				r.failed.Add(1)
			}
			<-slots
		})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// settle waits until every publish has its outcome and every subscriber has
// all that was acknowledged. It returns false when Settle passed first.
func (r *loadRun) settle() bool {
	deadline := time.After(r.Settle)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		outcomes := r.acknowledged.Load() + r.failed.Load() + r.unknown.Load()
		if outcomes == r.published.Load() &&
			!slices.ContainsFunc(r.observers, func(o *Observer) bool { return !o.Reached() }) {
			return true
		}
		select {
		case <-poll.C:
		case <-deadline:
			return false
		}
	}
}

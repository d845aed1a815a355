package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/internal/boottime"
)

// report describes a node to the leader. It comes with each question about where the log
// stands.
type report struct {
	Applied uint64 `json:"applied"`
	Extra   []byte `json:"extra,omitempty"`
	Clock   int64  `json:"clock"` // Unix ms
	Stalled bool   `json:"stalled,omitempty"`
	Sync    int64  `json:"sync,omitempty"` // median of its latest writes to the log, µs; 0 when not known
}

// view is the leader's answer: everything committed when it was asked lies at or
// below Index.
type view struct {
	Index uint64                 `json:"index"`
	Nodes map[string]leaderHeard `json:"nodes"`
	Led   int64                  `json:"led"` // for how long the leader leads, ms
}

// leaderHeard is the last report of a node that the leader knows.
type leaderHeard struct {
	report
	Age int64 `json:"age"` // ms
	// Silent: it has not reported at all, so far as this leader and those before
	// it know. Age is how long.
	Silent bool `json:"silent,omitempty"`
}

const (
	freshnessInterval = 500 * time.Millisecond
	freshnessTimeout  = 2 * time.Second
	// catchUpPause is the pause before another leader is asked.
	catchUpPause = 20 * time.Millisecond
)

// freshness is the proof that this node was up to date: the time at which it
// asked a question that a verified leader answered with an index which this node
// has since applied. Two nodes' clocks are never compared.
type freshness struct {
	ask       func(ctx context.Context) (view, error)
	applier   *applier
	coalescer coalescer[struct{}]

	mu    sync.Mutex
	since time.Duration // boot time of the question; 0: never
	view  view
	at    time.Time // when view came
}

func newFreshness(a *applier, ask func(context.Context) (view, error)) *freshness {
	f := &freshness{ask: ask, applier: a}
	f.coalescer.run = f.round
	return f
}

// round asks the leader once and waits for the log up to its answer.
func (f *freshness) round() (struct{}, error) {
	ctx, cancel := context.WithTimeout(context.Background(), freshnessTimeout)
	defer cancel()
	asked := boottime.SinceStart()
	v, err := f.ask(ctx)
	if err != nil {
		return struct{}{}, err
	}
	if err := f.applier.wait(ctx, v.Index); err != nil {
		return struct{}{}, err
	}
	f.mu.Lock()
	f.since, f.view, f.at = asked, v, time.Now()
	f.mu.Unlock()
	return struct{}{}, nil
}

// catchUp returns once everything that was committed at the time of the call is
// applied here.
func (f *freshness) catchUp(ctx context.Context) error {
	for {
		_, err := f.coalescer.do(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(catchUpPause):
		case <-ctx.Done():
			return fmt.Errorf("%w: catch up with the leader: %w", ErrUnavailable, err)
		}
	}
}

// staleness returns the age of the last proof.
func (f *freshness) staleness() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since == 0 {
		return math.MaxInt64
	}
	return boottime.SinceStart() - f.since
}

// lastView returns the leader's last answer and when it came.
func (f *freshness) lastView() (view, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view, f.at
}

// removedAfter counts the leaders' answers in a row that must say that this node is
// no member before it asks the others.
const removedAfter = 3

// run renews the proof until ctx ends. It calls removed, until that returns true, when the
// node seems to have been removed from its cluster. A node that knows no leader asks
// confirmRemoved, since a leader does not contact removed nodes.
func (f *freshness) run(ctx context.Context, confirmRemoved, removed func(context.Context) bool) {
	strikes := 0
	ticker := time.NewTicker(freshnessInterval)
	defer ticker.Stop()
	for {
		// A round that fails leaves the last proof to grow old, which is the age
		// that all readers check.
		_, err := f.coalescer.do(ctx)
		if errors.Is(err, ErrNotMember) || err != nil && confirmRemoved(ctx) {
			strikes++
		} else {
			strikes = 0
		}
		if strikes >= removedAfter && removed(ctx) {
			strikes = math.MinInt
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			f.coalescer.wait()
			return
		}
	}
}

// wallMillis is this machine's clock in Unix ms. Unlike the time since its start it can be set.
func wallMillis() int64 { return time.Now().UnixMilli() }

func decodeJSON[T any](raw []byte) (T, error) {
	var value T
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if message, ok := any(value).(peerMessage); ok {
		if err := message.check(); err != nil {
			return value, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	return value, nil
}

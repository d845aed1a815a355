package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// flakyLeader is a leader that loses batches, answers or itself, at random, with
// a state behind it that applies what it is given as the real one does.
type flakyLeader struct {
	mu      sync.Mutex
	machine *testMachine
	random  *rand.Rand
	trouble bool
	index   uint64
}

func (l *flakyLeader) connect(context.Context) (leaderLink, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble && l.random.IntN(3) == 0 {
		return nil, ErrUnavailable
	}
	return &flakyLink{leader: l}, nil
}

type flakyLink struct {
	leader *flakyLeader
	broken bool
}

func (k *flakyLink) to() string { return "flaky" }

func (k *flakyLink) send(raw []byte, done func(outcome, error)) error {
	l := k.leader
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.broken {
		return errors.New("connection is closed")
	}
	chance := 9
	if l.trouble {
		chance = l.random.IntN(10)
	}
	switch chance {
	case 0: // refused
		go done(outcome{}, ErrNotLeader)
		return nil
	case 1: // lost on the way there
		k.broken = true
		go done(outcome{}, errors.New("connection ended"))
		return nil
	}
	b, err := decodeBatch(raw)
	if err != nil {
		return err
	}
	l.index++
	l.machine.BeginEntry(l.index, 1, 0)
	results, next := l.machine.ApplyBatch(b.session, b.seq, b.acked, b.commands)
	switch chance {
	case 2: // applied, the answer is lost
		k.broken = true
		go done(outcome{}, errors.New("connection ended"))
	case 3: // applied, the leader does not know
		go done(outcome{}, peer.ErrUncertain)
	default:
		go done(outcome{index: l.index, next: next, results: results}, nil)
	}
	return nil
}

func newFlakyLeader(t *testing.T, seed uint64) *flakyLeader {
	return &flakyLeader{machine: openTestMachine(t, t.TempDir()), random: rand.New(rand.NewPCG(seed, 0))}
}

// TestForwarderIsExactlyOnceInOrder sends through a leader that fails at every
// turn.
func TestForwarderIsExactlyOnceInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			leader := newFlakyLeader(t, seed)
			leader.trouble = true
			f := newForwarder(Config{BatchBytes: 30}.withDefaults(), leader.connect, anyCommand, new(batchEncoder))
			defer f.close()
			const count = 300
			results := make([]Result, count)
			var waiting sync.WaitGroup
			waiting.Add(count)
			for i := range count {
				f.submit([][]byte{fmt.Appendf(nil, "c %d", i)}, func(_ int, r Result) {
					results[i] = r
					waiting.Done()
				})
			}
			waiting.Wait()
			for i, r := range results {
				if r.Err != nil || string(r.Data) != fmt.Sprint(i+1) {
					t.Fatalf("command %d: %q, %v", i, r.Data, r.Err)
				}
			}
			assertOrder(t, leader.machine.commands(), "c", count)
		})
	}
}

func TestForwarderDeadlines(t *testing.T) {
	t.Parallel()
	cfg := Config{SubmitTimeout: 200 * time.Millisecond}.withDefaults()
	submit := func(f *forwarder) Result {
		result := make(chan Result, 1)
		f.submit([][]byte{[]byte("x")}, func(_ int, r Result) { result <- r })
		return <-result
	}
	t.Run("nobody to send to", func(t *testing.T) {
		f := newForwarder(
			cfg,
			func(context.Context) (leaderLink, error) { return nil, ErrUnavailable },
			anyCommand,
			new(batchEncoder),
		)
		defer f.close()
		if r := submit(f); !errors.Is(r.Err, ErrUnavailable) {
			t.Errorf("got %v", r.Err)
		}
	})
	t.Run("always refused", func(t *testing.T) {
		f := newForwarder(
			cfg,
			func(context.Context) (leaderLink, error) { return refusingLink{}, nil },
			anyCommand,
			new(batchEncoder),
		)
		defer f.close()
		if r := submit(f); !errors.Is(r.Err, ErrUnavailable) {
			t.Errorf("got %v", r.Err)
		}
	})
	t.Run("never answered", func(t *testing.T) {
		f := newForwarder(
			cfg,
			func(context.Context) (leaderLink, error) { return silentLink{}, nil },
			anyCommand,
			new(batchEncoder),
		)
		defer f.close()
		if r := submit(f); !errors.Is(r.Err, ErrOutcomeUnknown) {
			t.Errorf("got %v", r.Err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		f := newForwarder(
			cfg,
			func(context.Context) (leaderLink, error) { return silentLink{}, nil },
			anyCommand,
			new(batchEncoder),
		)
		result := make(chan Result, 2)
		f.submit([][]byte{[]byte("x")}, func(_ int, r Result) { result <- r })
		f.close()
		f.submit([][]byte{[]byte("y")}, func(_ int, r Result) { result <- r })
		for range 2 {
			if r := <-result; !errors.Is(r.Err, ErrClosed) {
				t.Errorf("got %v", r.Err)
			}
		}
	})
}

type refusingLink struct{}

func (refusingLink) send(_ []byte, done func(outcome, error)) error {
	go done(outcome{}, ErrNotLeader)
	return nil
}

func (refusingLink) to() string { return "refusing" }

type silentLink struct{}

func (silentLink) to() string { return "silent" }

func (silentLink) send([]byte, func(outcome, error)) error { return nil }

// TestForwarderFollowsTheLeader: a link whose other end hangs keeps nothing
// waiting once somebody else leads, nor does a dial that hangs.
func TestForwarderFollowsTheLeader(t *testing.T) {
	t.Parallel()
	for name, hanging := range map[string]func(ctx context.Context) (leaderLink, error){
		"link": func(context.Context) (leaderLink, error) { return silentLink{}, nil },
		"dial": func(ctx context.Context) (leaderLink, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leader := newFlakyLeader(t, 1)
			var elected atomic.Bool
			began := make(chan struct{}, 1)
			f := newForwarder(Config{}.withDefaults(), func(ctx context.Context) (leaderLink, error) {
				if elected.Load() {
					return leader.connect(ctx)
				}
				began <- struct{}{}
				return hanging(ctx)
			}, anyCommand, new(batchEncoder))
			defer f.close()
			f.follow("silent")
			result := make(chan Result, 1)
			f.submit([][]byte{[]byte("x")}, func(_ int, r Result) { result <- r })
			<-began
			elected.Store(true)
			f.follow("flaky")
			select {
			case r := <-result:
				if r.Err != nil || string(r.Data) != "1" {
					t.Errorf("got %q, %v", r.Data, r.Err)
				}
			case <-time.After(f.cfg.SubmitTimeout / 2):
				t.Error("a command waits for the leader of the past")
			}
		})
	}
}

func TestForwarderBounds(t *testing.T) {
	t.Parallel()
	cfg := Config{QueueBytes: 2 * (50 + submissionOverhead), MaxCommandBytes: 60}.withDefaults()
	f := newForwarder(
		cfg,
		func(context.Context) (leaderLink, error) { return silentLink{}, nil },
		anyCommand,
		new(batchEncoder),
	)
	defer f.close()
	refused := make(chan Result, 1)
	f.submit([][]byte{make([]byte, 61)}, func(_ int, r Result) { refused <- r })
	if r := <-refused; !errors.Is(r.Err, ErrTooLarge) {
		t.Errorf("a command that is too large: %v", r.Err)
	}
	for range 2 {
		f.submit([][]byte{make([]byte, 50)}, func(_ int, _ Result) {})
	}
	f.submit([][]byte{{}}, func(_ int, r Result) { refused <- r })
	if r := <-refused; !errors.Is(r.Err, ErrOverloaded) {
		t.Errorf("a command that is too many: %v", r.Err)
	}
}

// TestForwarderBeginsAnewWhenItsSessionIsForgotten: what was on its way has an
// unknown outcome, what comes later is not held up.
func TestForwarderBeginsAnewWhenItsSessionIsForgotten(t *testing.T) {
	t.Parallel()
	leader := newFlakyLeader(t, 1)
	f := newForwarder(Config{}.withDefaults(), leader.connect, anyCommand, new(batchEncoder))
	defer f.close()
	submit := func(text string) Result {
		result := make(chan Result, 1)
		f.submit([][]byte{[]byte(text)}, func(_ int, r Result) { result <- r })
		return <-result
	}
	if r := submit("one"); r.Err != nil {
		t.Fatal(r.Err)
	}
	leader.machine.mu.Lock()
	clear(leader.machine.state.Sessions)
	leader.machine.mu.Unlock()
	if r := submit("two"); !errors.Is(r.Err, ErrOutcomeUnknown) {
		t.Fatalf("got %v", r.Err)
	}
	if r := submit("three"); r.Err != nil {
		t.Fatal(r.Err)
	}
	if got := leader.machine.commands(); !slices.Equal(got, []string{"one", "three"}) {
		t.Errorf("applied were %q", got)
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// partedLeader takes nothing until it is healed, as a node behind a cut does. What
// was sent before arrives then, first.
type partedLeader struct {
	*flakyLeader
	parting sync.Mutex
	healed  bool
	sent    [][]byte // before
	keep    bool     // what was sent before is not lost
}

func (l *partedLeader) connect(ctx context.Context) (leaderLink, error) {
	link, err := l.flakyLeader.connect(ctx)
	return &partedLink{l, link}, err
}

type partedLink struct {
	leader *partedLeader
	healed leaderLink
}

func (k *partedLink) to() string { return "parted" }

func (k *partedLink) send(raw []byte, done func(outcome, error)) error {
	l := k.leader
	l.parting.Lock()
	defer l.parting.Unlock()
	if !l.healed {
		l.sent = append(l.sent, raw)
		return nil
	}
	return k.healed.send(raw, done)
}

func (l *partedLeader) heal() {
	l.parting.Lock()
	defer l.parting.Unlock()
	l.healed = true
	if link, err := l.flakyLeader.connect(context.Background()); l.keep && err == nil {
		for _, raw := range l.sent {
			_ = link.send(raw, func(outcome, error) {})
		}
	}
}

// TestForwarderWithdrawsWhatWasGivenUp: what a submitter was told to be unknown does
// not happen when the leader can be reached again, nor does its number go missing; the
// commands in the same batch whose time is not over keep their order.
func TestForwarderWithdrawsWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	for _, arrived := range []bool{false, true} {
		t.Run(fmt.Sprint("sent before the cut ends: ", arrived), func(t *testing.T) {
			t.Parallel()
			leader := &partedLeader{flakyLeader: newFlakyLeader(t, 1), keep: arrived}
			f := newForwarder(Config{Nothing: []byte("nothing")}.withDefaults(), leader.connect, anyCommand, new(batchEncoder))
			defer f.close()
			results := make(map[string]chan Result)
			submit := func(commands ...string) {
				raw := make([][]byte, len(commands))
				for i, c := range commands {
					raw[i] = []byte(c)
					results[c] = make(chan Result, 1)
				}
				f.submit(raw, func(i int, r Result) { results[commands[i]] <- r })
			}
			submit("old 1")
			eventually(t, func() error {
				leader.parting.Lock()
				defer leader.parting.Unlock()
				if len(leader.sent) == 0 {
					return errors.New("nothing was sent")
				}
				return nil
			})
			f.mu.Lock()
			f.cfg.ForwardWindow = 2 // the next ones share a batch
			f.mu.Unlock()
			submit("old 2", "new 1", "old 3", "new 2")
			eventually(t, func() error {
				f.mu.Lock()
				defer f.mu.Unlock()
				if len(f.inflight) != 2 {
					return fmt.Errorf("%d batches are on their way", len(f.inflight))
				}
				for _, p := range f.inflight {
					for _, s := range p.submissions {
						if s.command[0] == 'n' {
							s.deadline = s.deadline.Add(time.Hour)
						}
					}
				}
				return nil
			})
			f.expire(time.Now().Add(f.cfg.SubmitTimeout))
			for _, old := range []string{"old 1", "old 2", "old 3"} {
				if r := <-results[old]; !errors.Is(r.Err, ErrOutcomeUnknown) {
					t.Errorf("%s: %v", old, r.Err)
				}
			}
			leader.heal()
			f.mu.Lock()
			f.startOver() // as when another leader is elected
			f.mu.Unlock()
			for _, fresh := range []string{"new 1", "new 2"} {
				select {
				case r := <-results[fresh]:
					if r.Err != nil {
						t.Errorf("%s: %v", fresh, r.Err)
					}
				case <-time.After(patience):
					t.Fatalf("%s is held up", fresh)
				}
			}
			submit("last")
			if r := <-results["last"]; r.Err != nil {
				t.Error(r.Err)
			}
			want := []string{"nothing", "nothing", "new 1", "nothing", "new 2", "last"}
			if arrived { // the first send counts, whatever is sent later
				want = []string{"old 1", "old 2", "new 1", "old 3", "new 2", "last"}
			}
			if got := leader.machine.commands(); !slices.Equal(got, want) {
				t.Errorf("applied were %q, want %q", got, want)
			}
		})
	}
}

// TestForwarderKnowsWhatHadNoEffect: a batch that every leader refused is withdrawn
// before anybody took it, which is no unknown outcome.
func TestForwarderKnowsWhatHadNoEffect(t *testing.T) {
	t.Parallel()
	f := newForwarder(Config{Nothing: []byte("nothing")}.withDefaults(), func(context.Context) (leaderLink, error) {
		return nil, ErrUnavailable
	}, anyCommand, new(batchEncoder))
	defer f.close()
	told := make(chan Result, 1)
	f.mu.Lock()
	s := &submission{command: []byte("x"), done: func(_ int, r Result) { told <- r }}
	f.queue, f.bytes = []*submission{s}, len(s.command)+submissionOverhead
	f.inflight = append(f.inflight, f.pack())
	f.link = silentLink{}
	f.mu.Unlock()
	f.expire(time.Now())
	if r := <-told; !errors.Is(r.Err, ErrUnavailable) {
		t.Errorf("got %v", r.Err)
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// proposed is an entry that a stage has given to Raft; the test settles it.
type proposed struct {
	entry    entry
	err      error
	response any
	settled  chan struct{}
}

func (p *proposed) Error() error  { <-p.settled; return p.err }
func (p *proposed) Response() any { return p.response }
func (p *proposed) Index() uint64 { return 7 }

// settle resolves the future; without an error each batch gets one result.
func (p *proposed) settle(err error) {
	p.err = err
	if err == nil {
		answer := &applied{term: 3}
		for range p.entry.batches {
			answer.outcomes = append(answer.outcomes, outcome{index: 7, results: [][]byte{[]byte("done")}})
		}
		p.response = answer
	}
	close(p.settled)
}

// scriptedRaft collects what is proposed.
type scriptedRaft chan *proposed

func (r scriptedRaft) Apply(command []byte, _ time.Duration) raft.ApplyFuture {
	e, err := decodeEntry(command)
	if err != nil {
		panic(err)
	}
	p := &proposed{entry: e, settled: make(chan struct{})}
	r <- p
	return p
}

// leadTestStage runs a stage until the test ends or stop is called.
func leadTestStage(t *testing.T, machine Machine) (s *proposer, entries scriptedRaft, stop func()) {
	t.Helper()
	entries = make(scriptedRaft, 100)
	s = newProposer(Config{EntryWindow: 1}.withDefaults(), entries, machine,
		func() int64 { return time.Now().UnixMilli() }, func() uint32 { return 1 }, func(uint64, uint64, bool) {})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.lead(ctx, func(context.Context) error { return nil })
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.state != proposerOpen {
			return errors.New("the stage is not open")
		}
		return nil
	})
	return s, entries, stop
}

func testBatch(seq uint64) []byte {
	return encodeBatch(batch{session: Session{1}, seq: seq, acked: seq - 1, commands: [][]byte{[]byte("x")}})
}

func TestStageGathersWhileAnEntryIsOnItsWay(t *testing.T) {
	t.Parallel()
	s, entries, _ := leadTestStage(t, openTestMachine(t, t.TempDir()))
	replies := make(chan error, 10)
	reply := func(_ outcome, err error) { replies <- err }
	s.submit(testBatch(1), reply)
	first := <-entries
	for seq := uint64(2); seq <= 4; seq++ {
		s.submit(testBatch(seq), reply)
	}
	first.settle(nil)
	second := <-entries
	second.settle(nil)
	if len(first.entry.batches) != 1 || len(second.entry.batches) != 3 {
		t.Errorf("entries carry %d and %d batches, want 1 and 3", len(first.entry.batches), len(second.entry.batches))
	}
	for range 4 {
		if err := <-replies; err != nil {
			t.Error(err)
		}
	}
}

func TestStageAnswersWhateverBecomesOfTheEntry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fate error
		want error
	}{
		{nil, nil},
		{raft.ErrNotLeader, ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, ErrNotLeader},
		{raft.ErrLeadershipLost, peer.ErrUncertain},
		{raft.ErrRaftShutdown, peer.ErrUncertain},
	} {
		for _, steppedDown := range []bool{false, true} {
			t.Run(fmt.Sprint(test.fate, steppedDown), func(t *testing.T) {
				s, entries, stop := leadTestStage(t, openTestMachine(t, t.TempDir()))
				replied := make(chan error, 1)
				s.submit(testBatch(1), func(_ outcome, err error) { replied <- err })
				p := <-entries
				if steppedDown {
					stop()
				}
				p.settle(test.fate)
				select {
				case err := <-replied:
					if !errors.Is(err, test.want) {
						t.Errorf("answered %v, want %v", err, test.want)
					}
				case <-time.After(patience):
					t.Error("the batch was never answered")
				}
			})
		}
	}
}

func TestStageRefusesWhenItDoesNotLead(t *testing.T) {
	t.Parallel()
	s, entries, stop := leadTestStage(t, openTestMachine(t, t.TempDir()))
	replies := make(chan error, 2)
	s.submit(testBatch(1), func(outcome, error) {})
	p := <-entries
	s.submit(testBatch(2), func(_ outcome, err error) { replies <- err }) // waits behind the first
	stop()
	s.submit(testBatch(3), func(_ outcome, err error) { replies <- err })
	for range 2 {
		if err := <-replies; !errors.Is(err, ErrNotLeader) {
			t.Errorf("answered %v", err)
		}
	}
	p.settle(nil)
}

func TestStageTicksAtTheDeadlineAndNeverGoesBack(t *testing.T) {
	t.Parallel()
	machine := openTestMachine(t, t.TempDir())
	ahead := time.Now().Add(time.Hour).UnixMilli()
	machine.state.Stamp = ahead // the last leader's clock was ahead
	_, entries, _ := leadTestStage(t, machine)
	tick := <-entries
	if late := tick.entry.stamp - ahead; len(tick.entry.batches) != 0 || late < 400 || late > patience.Milliseconds() {
		t.Errorf("the tick is %+v, want a stamp about half a second after %d and nothing else", tick.entry, ahead)
	}
	tick.settle(nil)

	machine = openTestMachine(t, t.TempDir())
	deadline := time.Now().Add(100 * time.Millisecond).UnixMilli()
	machine.deadline = deadline
	_, entries, _ = leadTestStage(t, machine)
	tick = <-entries
	if late := tick.entry.stamp - deadline; late < 0 || late > 500 {
		t.Errorf("the tick for the deadline comes %d ms after it", late)
	}
	tick.settle(nil)
}

// A compressed batch counts as what it holds: an entry is no larger than without compression, and
// neither is what waits. A cluster with a member that would not understand it takes none.
func TestCompressedBatchesCountAsWhatTheyHold(t *testing.T) {
	t.Parallel()
	s := newProposer(Config{BatchBytes: 10_000}.withDefaults(), make(scriptedRaft), openTestMachine(t, t.TempDir()),
		func() int64 { return 1 }, func() uint32 { return 1 }, func(uint64, uint64, bool) {})
	s.set(proposerOpen)
	raw := compressBatch(batch{seq: 1, commands: [][]byte{make([]byte, 6000)}})
	replied := make(chan error, 1)
	s.submitForeign(raw, func(_ outcome, err error) { replied <- err })
	select {
	case err := <-replied:
		if !errors.Is(err, ErrFeatureLevel) {
			t.Errorf("below its feature level: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it is taken below its feature level")
	}
	s.level.Store(compressionLevel)
	for range 2 {
		s.submitForeign(raw, func(_ outcome, err error) { t.Error(err) })
	}
	if s.bytes < 12_000 {
		t.Errorf("what waits counts as %d bytes", s.bytes)
	}
	if first, second := len(s.gather()), len(s.gather()); first != 1 || second != 1 || s.bytes != 0 {
		t.Errorf("entries of %d and %d batches, want one each; %d bytes are left", first, second, s.bytes)
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// applier hands committed entries to the machine. Raft runs it on one goroutine.
// It takes batches and must stay a raft.BatchingFSM itself: a wrapper that
// embeds raft.FSM would silently lose ApplyBatch.
type applier struct {
	logs      entries
	machine   Machine
	snapshots *snapshotStore
	configs   *configHistory
	stalls    *StallWatch
	fatal     func(error)
	applied   func(commands int) // is told of each entry
	busy      busyTime

	stopped  atomic.Bool
	mu       sync.Mutex
	consumed uint64
	term     uint64
	waiters  map[*waiter]struct{}
}

// entries is the log, as far as the applier looks at it.
type entries interface {
	GetLog(index uint64, log *raft.Log) error
	Bound(index uint64) uint64
	AwaitSynced(index uint64) error
}

var _ raft.BatchingFSM = (*applier)(nil)

type waiter struct {
	index uint64
	done  chan struct{}
}

// applied is the response of Raft's future for an entry.
type applied struct {
	term     uint64
	outcomes []outcome // one per batch
}

func newApplier(logs entries, machine Machine, snapshots *snapshotStore, configs *configHistory,
	fatal func(error),
) *applier {
	a := &applier{
		logs: logs, machine: machine, snapshots: snapshots, configs: configs, fatal: fatal,
		applied: func(int) {}, waiters: make(map[*waiter]struct{}),
	}
	a.consumed, a.term = machine.Applied()
	return a
}

// Apply takes one entry.
func (a *applier) Apply(log *raft.Log) any { return a.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch takes entries in log order, configurations among them. Raft calls an entry
// committed while its own log may not be synced up to it: it is applied when that is so,
// since then a majority has it.
func (a *applier) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	if a.stopped.Load() {
		return answers
	}
	a.busy.begin(time.Now())
	defer func() { a.busy.end(time.Now()) }()
	last, term := a.progress()
	settled := last
	settle := func() {
		if last > settled {
			a.machine.Notify()
			a.advance(last, term)
			settled = last
		}
	}
	for i, log := range logs {
		if log.Type == raft.LogConfiguration {
			a.configs.add(log.Index, raft.DecodeConfiguration(log.Data))
		}
		// After a restart Raft replays from its last snapshot, the machine may
		// be ahead of that.
		if log.Index <= last {
			continue
		}
		if a.logs.Bound(log.Index) < log.Index {
			settle()
			a.busy.end(time.Now())
			err := a.logs.AwaitSynced(log.Index)
			a.busy.begin(time.Now())
			if err != nil {
				a.stop() // the log has said why
				break
			}
		}
		if err := a.follows(last, log.Index); err != nil {
			a.fatal(err)
			break
		}
		answers[i] = a.apply(log)
		last, term = log.Index, log.Term
	}
	settle()
	return answers
}

// stop makes the applier ignore later entries. When Raft shuts down it drops
// entries and may still hand over later ones, so this comes first: a state with
// a hole that calls itself complete would be wrong for good.
func (a *applier) stop() { a.stopped.Store(true) }

// follows reports an error unless the entries between two are such as Raft keeps
// to itself.
func (a *applier) follows(last, index uint64) error {
	for skipped := last + 1; skipped < index; skipped++ {
		var log raft.Log
		if err := a.logs.GetLog(skipped, &log); err != nil {
			return fmt.Errorf("look at entry %d, which was not applied: %w", skipped, err)
		}
		if log.Type == raft.LogCommand || log.Type == raft.LogConfiguration {
			return fmt.Errorf("entry %d was to be applied after %d: entry %d is missing", index, last, skipped)
		}
	}
	return nil
}

func (a *applier) apply(log *raft.Log) *applied {
	defer a.stalls.Watch("apply an entry")()
	answer := &applied{term: log.Term}
	if log.Type != raft.LogCommand {
		a.machine.BeginEntry(log.Index, log.Term, 0)
		return answer
	}
	e, err := decodeEntry(log.Data)
	if err != nil {
		a.fatal(fmt.Errorf("decode entry %d: %w", log.Index, err))
		return answer
	}
	a.machine.BeginEntry(log.Index, log.Term, e.stamp)
	commands := 0
	answer.outcomes = make([]outcome, len(e.batches))
	for i, b := range e.batches {
		results, next := a.machine.ApplyBatch(b.session, b.seq, b.acked, b.commands)
		answer.outcomes[i] = outcome{index: log.Index, next: next, results: results}
		commands += len(b.commands)
	}
	a.applied(commands)
	return answer
}

// progress returns index and term of the last entry that the machine consumed.
// Raft's own notion of applied is no substitute: it means handed over.
func (a *applier) progress() (index, term uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.consumed, a.term
}

// reach returns the last entry up to a committed one that the machine will consume:
// Raft keeps some entries to itself, so no caller can wait for them here.
func (a *applier) reach(committed uint64) uint64 {
	consumed, _ := a.progress()
	for ; committed > consumed; committed-- {
		var log raft.Log
		err := a.logs.GetLog(committed, &log)
		if err != nil || log.Type == raft.LogCommand || log.Type == raft.LogConfiguration {
			return committed
		}
	}
	return consumed
}

func (a *applier) advance(index, term uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.consumed, a.term = index, term
	for w := range a.waiters {
		if w.index <= index {
			close(w.done)
			delete(a.waiters, w)
		}
	}
}

// wait returns once the machine has consumed index.
func (a *applier) wait(ctx context.Context, index uint64) error {
	a.mu.Lock()
	if a.consumed >= index {
		a.mu.Unlock()
		return nil
	}
	w := &waiter{index: index, done: make(chan struct{})}
	a.waiters[w] = struct{}{}
	a.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		a.mu.Lock()
		delete(a.waiters, w)
		a.mu.Unlock()
		return fmt.Errorf("wait for entry %d: %w", index, ctx.Err())
	}
}

// Snapshot only notes where the machine is: its state is the snapshot. There is none once
// the applier has stopped: Raft counts ignored entries as applied, and the snapshot would
// cover them.
func (a *applier) Snapshot() (raft.FSMSnapshot, error) {
	if a.stopped.Load() {
		return nil, ErrClosed
	}
	index, _ := a.progress()
	return &stateSnapshot{machine: a.machine, state: index}, nil
}

// Restore replaces the machine's state by a received one.
func (a *applier) Restore(r io.ReadCloser) error {
	if err := a.machine.Restore(r); err != nil {
		err = fmt.Errorf("restore snapshot: %w", err)
		a.fatal(err)
		return err
	}
	if err := a.snapshots.settle(); err != nil {
		return err
	}
	a.advance(a.machine.Applied())
	return nil
}

// stateSnapshot is the promise that the machine's state is durable up to an
// entry.
type stateSnapshot struct {
	machine Machine
	state   uint64
}

func (s *stateSnapshot) Persist(sink raft.SnapshotSink) error {
	k, ok := sink.(*snapshotSink)
	if !ok {
		return errors.New("snapshot goes to a foreign store")
	}
	k.waited() // no node sends this one
	if err := s.machine.Flush(); err != nil {
		k.store.fatal(fmt.Errorf("flush state: %w", err))
		return fmt.Errorf("flush state: %w", err)
	}
	k.taken, k.record.State = true, s.state
	return k.Close()
}

func (s *stateSnapshot) Release() {}

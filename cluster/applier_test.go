package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// someEntries are the types of log entries, by index.
type someEntries map[uint64]raft.LogType

func (e someEntries) GetLog(index uint64, log *raft.Log) error {
	kind, ok := e[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*log = raft.Log{Index: index, Type: kind}
	return nil
}

func (e someEntries) Bound(index uint64) uint64 { return index }
func (e someEntries) AwaitSynced(uint64) error  { return nil }

func testApplier(t *testing.T, logs entries) (a *applier, fatal *error) {
	t.Helper()
	fatal = new(error)
	machine := openTestMachine(t, t.TempDir())
	return newApplier(logs, machine, nil, &configHistory{}, func(err error) { *fatal = err }), fatal
}

func configured(index uint64) *raft.Log {
	return &raft.Log{
		Index: index, Term: 1, Type: raft.LogConfiguration,
		Data: raft.EncodeConfiguration(raft.Configuration{}),
	}
}

func TestApplierTakesNoHoles(t *testing.T) {
	a, fatal := testApplier(t, someEntries{2: raft.LogNoop, 3: raft.LogBarrier, 5: raft.LogCommand})
	a.ApplyBatch([]*raft.Log{configured(1), configured(4)})
	if index, _ := a.progress(); index != 4 || *fatal != nil {
		t.Fatalf("applied up to %d, %v; what Raft keeps to itself is no hole", index, *fatal)
	}
	a.ApplyBatch([]*raft.Log{configured(6)})
	if index, _ := a.progress(); index != 4 || *fatal == nil || !strings.Contains((*fatal).Error(), "entry 5 is missing") {
		t.Errorf("applied up to %d, %v", index, *fatal)
	}
	a.ApplyBatch([]*raft.Log{configured(8)})
	if index, _ := a.progress(); index != 4 || *fatal == nil {
		t.Errorf("applied up to %d, %v, over an entry that is not in the log", index, *fatal)
	}
}

// slowEntries are a log that is synced up to an index, until more is.
type slowEntries struct {
	someEntries
	synced uint64
	more   chan error
}

func (e slowEntries) Bound(index uint64) uint64 { return min(index, e.synced) }

func (e slowEntries) AwaitSynced(index uint64) error {
	if index <= e.synced {
		return nil
	}
	return <-e.more
}

// TestApplierWaitsForItsOwnLog: what Raft calls committed may not be on this disk yet.
func TestApplierWaitsForItsOwnLog(t *testing.T) {
	logs := slowEntries{someEntries{}, 1, make(chan error)}
	a, fatal := testApplier(t, logs)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.ApplyBatch([]*raft.Log{configured(1), configured(2)})
	}()
	// The first entry waits for nobody.
	if err := a.wait(within(t), 1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		t.Error("entry 2 was applied before it was synced")
	case <-time.After(20 * time.Millisecond):
	}
	logs.more <- nil
	<-ended
	if index, _ := a.progress(); index != 2 || *fatal != nil {
		t.Errorf("applied up to %d, %v", index, *fatal)
	}
	go func() { logs.more <- errors.New("input/output error") }()
	a.ApplyBatch([]*raft.Log{configured(3)})
	a.ApplyBatch([]*raft.Log{configured(4)})
	if index, _ := a.progress(); index != 2 || *fatal != nil {
		t.Errorf("applied up to %d, %v, although the log failed", index, *fatal)
	}
}

// slowMachine takes a while for each entry.
type slowMachine struct{ *testMachine }

const slowEntry = 5 * time.Millisecond

func (m slowMachine) BeginEntry(index, term uint64, stamp int64) {
	time.Sleep(slowEntry)
	m.testMachine.BeginEntry(index, term, stamp)
}

// TestApplierIsBusyWithAllEntriesOfABatch, also when it does not wait between them.
func TestApplierIsBusyWithAllEntriesOfABatch(t *testing.T) {
	a, _ := testApplier(t, someEntries{})
	a.machine = slowMachine{openTestMachine(t, t.TempDir())}
	a.ApplyBatch([]*raft.Log{configured(1), configured(2), configured(3), configured(4)})
	var spent time.Duration
	for _, at := range a.busy.spent {
		spent += at.time
	}
	if spent < 4*slowEntry {
		t.Errorf("it was busy for %s with four entries of %s", spent, slowEntry)
	}
}

func TestStoppedApplierAppliesNothing(t *testing.T) {
	a, fatal := testApplier(t, someEntries{})
	a.ApplyBatch([]*raft.Log{configured(1)})
	if _, err := a.Snapshot(); err != nil {
		t.Error(err)
	}
	a.stop()
	// Raft has dropped 2 and 3, and hands over 4 all the same.
	a.ApplyBatch([]*raft.Log{configured(4)})
	if index, _ := a.progress(); index != 1 || *fatal != nil {
		t.Errorf("applied up to %d, %v", index, *fatal)
	}
	// Raft would say that it is of entry 4.
	if _, err := a.Snapshot(); err == nil {
		t.Error("it takes a snapshot")
	}
}

package cluster

import (
	"strings"
	"testing"

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

func TestStoppedApplierAppliesNothing(t *testing.T) {
	a, fatal := testApplier(t, someEntries{})
	a.ApplyBatch([]*raft.Log{configured(1)})
	a.stop()
	// Raft has dropped 2 and 3, and hands over 4 all the same.
	a.ApplyBatch([]*raft.Log{configured(4)})
	if index, _ := a.progress(); index != 1 || *fatal != nil {
		t.Errorf("applied up to %d, %v", index, *fatal)
	}
}

package torture

import (
	"slices"
	"testing"
	"time"
)

func TestSeedSaysAll(t *testing.T) {
	anything := func(FaultKind) bool { return true }
	const length = 2 * time.Minute
	seen := make(map[FaultKind]bool)
	for seed := range uint64(200) {
		plan := NewPlan(seed, length, 3, anything)
		if !slices.Equal(plan, NewPlan(seed, length, 3, anything)) {
			t.Fatalf("seed %d makes two plans", seed)
		}
		if len(plan) < 5 {
			t.Errorf("seed %d has only %d faults", seed, len(plan))
		}
		lost := 0
		for _, s := range plan {
			seen[s.Fault] = true
			if s.Fault == Wipe || s.Fault == Flip {
				lost++
			}
			if s.Node >= 3 || s.Other >= 3 || s.Other == s.Node {
				t.Errorf("seed %d: %+v", seed, s)
			}
		}
		if lost > 1 {
			t.Errorf("seed %d takes the data of %d nodes, more than three nodes stand", seed, lost)
		}
	}
	for _, w := range weights {
		if !seen[w.kind] {
			t.Errorf("no seed has %s", w.kind)
		}
	}
}

func TestPlanLeavesOutWhatCannotBe(t *testing.T) {
	for seed := range uint64(50) {
		for _, s := range NewPlan(seed, time.Minute, 5, func(k FaultKind) bool { return k == Kill || k == Pause }) {
			if s.Fault != Kill && s.Fault != Pause {
				t.Fatalf("seed %d: %+v", seed, s)
			}
		}
	}
}

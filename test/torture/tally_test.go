package torture

import (
	"testing"
	"time"
)

func TestTallyAddsUp(t *testing.T) {
	total := tally{begun: 4}
	for n := range time.Duration(3) {
		total.add(Report{
			Made:       map[FaultKind]int{Kill: 2, Cut: 1},
			History:    []Event{{Kind: Publish}, {Kind: Subscribe}, {Kind: Deliver}},
			Violations: make([]Violation, n),
			Published:  5,
			Recovery:   n * time.Second,
			Agreement:  n * time.Minute,
		})
	}
	const want = "4 seeds, 3 violations, 6 operations, 15 publishes acknowledged; cut 3, kill 6; live after min 0s, " +
		"p50 1s, max 2s, and members agreed on after max 2m0s; 1 seeds did not come to their end"
	if got := total.String(); got != want {
		t.Errorf("it says  %s\nand means %s", got, want)
	}
}

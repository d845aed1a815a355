package torture

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// tally adds runs up.
type tally struct {
	begun        int // runs
	violations   int
	operations   int // of clients, whatever became of them
	acknowledged int64
	faults       map[string]int
	recoveries   []time.Duration // of the runs that came to their end
	agreement    time.Duration   // the longest
}

func (t *tally) add(r Report) {
	t.violations += len(r.Violations)
	t.acknowledged += r.Published
	for _, e := range r.History {
		switch e.Kind {
		case Publish, Subscribe, Opened, Created, Revoked, Enter, Update, Quit:
			t.operations++
		}
	}
	if t.faults == nil {
		t.faults = make(map[string]int)
	}
	for kind, n := range r.Made {
		t.faults[string(kind)] += n
	}
	t.recoveries = append(t.recoveries, r.Recovery)
	t.agreement = max(t.agreement, r.Agreement)
}

func (t *tally) String() string {
	if len(t.recoveries) == 0 {
		return fmt.Sprintf("%d seeds, none came to its end", t.begun)
	}
	var faults []string
	for kind, n := range sorted(t.faults) {
		faults = append(faults, fmt.Sprintf("%s %d", kind, n))
	}
	slices.Sort(t.recoveries)
	live := func(i int) time.Duration { return t.recoveries[i].Round(10 * time.Millisecond) }
	last := len(t.recoveries) - 1
	text := fmt.Sprintf("%d seeds, %d violations, %d operations, %d publishes acknowledged; %s; "+
		"live after min %v, p50 %v, max %v, and members agreed on after max %v",
		t.begun, t.violations, t.operations, t.acknowledged, strings.Join(faults, ", "), live(0), live(last/2), live(last),
		t.agreement.Round(10*time.Millisecond))
	if cut := t.begun - len(t.recoveries); cut > 0 {
		text += fmt.Sprintf("; %d seeds did not come to their end", cut)
	}
	return text
}

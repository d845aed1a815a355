package bench

import (
	"fmt"
	"strings"
	"time"
)

// showProgress writes a line each second until the run has ended.
func (r *loadRun) showProgress(start time.Time) {
	if r.Progress == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var acknowledged, delivered uint64
	for {
		select {
		case <-tick.C:
		case <-r.ended:
			return
		}
		a, d := r.acknowledged.Load(), r.delivered.Load()
		var b strings.Builder
		fmt.Fprintf(&b, "%4.0fs  published %d  acknowledged %d (%d/s)  delivered %d (%d/s)",
			time.Since(start).Seconds(), r.published.Load(), a, a-acknowledged, d, d-delivered)
		if bad := r.failed.Load() + r.unknown.Load(); bad > 0 {
			fmt.Fprintf(&b, "  failed or unknown %d", bad)
		}
		if n, _ := r.reconnects(); n > 0 {
			fmt.Fprintf(&b, "  reconnects %d", n)
		}
		acknowledged, delivered = a, d
		if _, err := fmt.Fprintln(r.Progress, b.String()); err != nil {
			return // nobody looks any more; the run goes on
		}
	}
}

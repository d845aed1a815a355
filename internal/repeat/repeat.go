// Package repeat paces work that is done again and again.
package repeat

import (
	"context"
	"iter"
	"time"
)

// Every yields the time after each interval, until ctx ends. Times that pass while the loop
// body runs are dropped, except for one.
func Every(ctx context.Context, interval time.Duration) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				if !yield(now) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

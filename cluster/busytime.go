package cluster

import (
	"sync"
	"time"
)

// busyTime is the share of the last seconds in which one goroutine was at work.
type busyTime struct {
	mu    sync.Mutex
	since time.Time // it is at work; zero when it is not
	spent [busyWindow + 2]struct {
		second int64
		time   time.Duration
	} // a ring, by second
}

// busyWindow is the number of whole seconds that busyTime looks back.
const busyWindow = 10

// begin says that work begins.
func (b *busyTime) begin(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since = now
}

// end says that work has ended, or is interrupted.
func (b *busyTime) end(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(now)
	b.since = time.Time{}
}

// settle counts the work since it began, each second's part apart. b.mu is held.
func (b *busyTime) settle(now time.Time) {
	for !b.since.IsZero() && b.since.Before(now) {
		until := b.since.Truncate(time.Second).Add(time.Second)
		if until.After(now) {
			until = now
		}
		second := b.since.Unix()
		at := &b.spent[second%int64(len(b.spent))]
		if at.second != second {
			at.second, at.time = second, 0
		}
		at.time += until.Sub(b.since)
		b.since = until
		if now.Sub(b.since) > 2*busyWindow*time.Second {
			b.since = now.Add(-2 * busyWindow * time.Second) // all before is out of the window
		}
	}
}

// ratio returns the share of the last busyWindow whole seconds, from 0 to 1.
func (b *busyTime) ratio(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(now)
	var sum time.Duration
	for _, at := range b.spent {
		if ago := now.Unix() - at.second; ago >= 1 && ago <= busyWindow {
			sum += at.time
		}
	}
	return min(sum.Seconds()/busyWindow, 1)
}

// ApplyBusy returns the share of the last ten seconds in which this node applied entries.
func (c *Cluster) ApplyBusy() float64 { return c.applier.busy.ratio(time.Now()) }

package raftlog

import (
	"slices"
	"sync"
	"time"
)

const (
	// paceWindow is the time over which a node looks back at its own writes to the log, and
	// paceEnough how many of them it takes to judge a disk. A quiet cluster writes
	// one a second.
	paceWindow = 10 * time.Second
	paceEnough = 8
)

// SyncPace measures how long the newest writes to the log took, syncing included.
type SyncPace struct {
	mu     sync.Mutex
	writes [64]timedWrite // a ring
	next   int
}

type timedWrite struct {
	at   time.Time // its end; zero: none yet
	took time.Duration
}

func (p *SyncPace) add(at time.Time, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes[p.next%len(p.writes)] = timedWrite{at, took}
	p.next++
}

// Median returns the median of the last paceWindow, 0 when there were too few
// writes in it.
func (p *SyncPace) Median(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var took []time.Duration
	for _, w := range p.writes {
		if !w.at.IsZero() && now.Sub(w.at) <= paceWindow {
			took = append(took, w.took)
		}
	}
	if len(took) < paceEnough {
		return 0
	}
	slices.Sort(took)
	return took[len(took)/2]
}

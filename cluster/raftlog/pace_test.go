package raftlog

import (
	"testing"
	"time"
)

func TestSyncPaceIsTheMedianOfLately(t *testing.T) {
	var p SyncPace
	now := time.Now()
	for range 100 {
		p.add(now.Add(-time.Minute), time.Second)
	}
	if got := p.Median(now); got != 0 {
		t.Errorf("what was a minute ago makes it %v", got)
	}
	for i := range paceEnough {
		if got := p.Median(now); got != 0 {
			t.Errorf("%d writes make it %v", i, got)
		}
		took := 2 * time.Millisecond
		if i == 0 {
			took = time.Minute // one that was held up says nothing of the disk
		}
		p.add(now, took)
	}
	if got := p.Median(now); got != 2*time.Millisecond {
		t.Errorf("it is %v", got)
	}
}

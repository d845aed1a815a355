package ratelimit

import (
	"fmt"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	l, r := NewLimiter(), PerSecond(0.5, 3)
	for i := range 3 {
		if wait := l.Take("a", r); wait != 0 {
			t.Fatalf("attempt %d is to wait %v", i, wait)
		}
	}
	wait := l.Take("a", r)
	if wait <= time.Second || wait > 2*time.Second {
		t.Errorf("wait %v", wait)
	}
	if wait := l.Take("b", r); wait != 0 {
		t.Error("another name was refused")
	}
	l.began = l.began.Add(-wait)
	if wait := l.Take("a", r); wait != 0 {
		t.Error("refused after the wait")
	}
	for i := range 3 * maxBuckets {
		l.Take(fmt.Sprint(i), r)
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d meters", len(l.buckets))
	}
}

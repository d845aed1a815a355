package barrier

import (
	"math"
	"testing"
)

func TestBarrierWaitsForAllQueues(t *testing.T) {
	var a, b Queue
	var calls []string
	release := func(q *Queue, confirmed uint64) {
		for _, then := range q.Release(confirmed) {
			then()
		}
	}
	both, one := New(func() { calls = append(calls, "both") }), New(func() { calls = append(calls, "one") })
	if both.Held() {
		t.Error("a new barrier is held up")
	}
	a.Add(1, both)
	b.Add(5, both)
	a.Add(2, one)
	if release(&a, 1); len(calls) != 0 || !both.Held() || a.Len() != 1 {
		t.Errorf("after the first of two: %v", calls)
	}
	release(&b, 4)
	if release(&a, 2); len(calls) != 1 || calls[0] != "one" || one.Held() {
		t.Errorf("after all of one: %v", calls)
	}
	if release(&b, math.MaxUint64); len(calls) != 2 || calls[1] != "both" || a.Len()+b.Len() != 0 {
		t.Errorf("after all of both: %v", calls)
	}
}

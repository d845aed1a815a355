package ratelimit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBucket(t *testing.T) {
	r := PerSecond(10, 3)
	var m Bucket
	now := time.Hour
	for i := range 3 {
		if wait := m.Take(r, now); wait != 0 {
			t.Fatalf("token %d of the burst must wait %v", i, wait)
		}
	}
	if wait := m.Take(r, now); wait != 100*time.Millisecond {
		t.Errorf("a wait of %v, want 100ms", wait)
	}
	if wait := m.Take(r, now+99*time.Millisecond); wait != time.Millisecond {
		t.Errorf("a wait of %v, want 1ms", wait)
	}
	if wait := m.Take(r, now+100*time.Millisecond); wait != 0 {
		t.Errorf("a wait of %v when it is over", wait)
	}
	m = 0
	for range 1000 {
		if wait := m.Take(Rate{}, now); wait != 0 {
			t.Fatal("no bound, and yet a wait")
		}
	}
}

// A rate that is next to nothing, or a burst beyond counting, stays a bound.
func TestBucketOfExtremes(t *testing.T) {
	const now = time.Hour
	for _, n := range []float64{5e-324, 1e-300, 1e-12, 1e-9} {
		var m Bucket
		if wait := m.Take(PerSecond(n, 1), now); wait != 0 {
			t.Errorf("%g a second: the first must wait %v", n, wait)
		}
		if wait := m.Take(PerSecond(n, 1), now); wait < 24*time.Hour {
			t.Errorf("%g a second: the second must wait %v", n, wait)
		}
	}
	for _, n := range []float64{1e-9, 1e-3, 1, 1e9} {
		r := PerSecond(n, 1_000_000_000)
		var m Bucket
		for i := range 100 {
			if wait := m.Take(r, now); wait != 0 {
				t.Fatalf("%g a second: token %d of a large burst must wait %v", n, i, wait)
			}
		}
	}
}

// However takes fall, no span of time sees more than the burst and what the rate
// gives in it, and one that waits as told is served.
func TestBucketBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, burst := rapid.IntRange(1, 1000).Draw(t, "rate"), rapid.IntRange(1, 50).Draw(t, "burst")
		r := PerSecond(float64(n), burst)
		var m Bucket
		var now time.Duration
		var taken []time.Duration
		for range 300 {
			now += time.Duration(rapid.IntRange(0, int(2*r.Gap)).Draw(t, "pause"))
			wait := m.Take(r, now)
			if wait > 0 && rapid.Bool().Draw(t, "obeys") {
				now += wait
				if again := m.Take(r, now); again != 0 {
					t.Fatalf("waited %v as told, and again %v", wait, again)
				}
				wait = 0
			}
			if wait == 0 {
				taken = append(taken, now)
			}
		}
		for i := range taken {
			for j := i + burst; j < len(taken); j++ {
				if most := burst + int((taken[j]-taken[i])/r.Gap); j-i+1 > most+1 {
					t.Fatalf("%d within %v of %d/s, burst %d", j-i+1, taken[j]-taken[i], n, burst)
				}
			}
		}
	})
}

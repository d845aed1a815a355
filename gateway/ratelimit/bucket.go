// Package ratelimit bounds how often something may happen, alone or by name, with token
// buckets, and how much of it is under way at once. It knows neither clients nor the
// protocol.
package ratelimit

import "time"

// Rate says how often something may happen. The zero value sets no bound.
type Rate struct {
	Gap   time.Duration // between two in the long run
	Burst time.Duration // gaps that a full bucket holds, added up
}

// These bounds keep times from overflowing where they are added up.
const (
	longestGap   = 365 * 24 * time.Hour
	longestBurst = 100 * longestGap
)

// PerSecond returns the rate of n a second, of which burst may come at once. No n sets
// no bound.
func PerSecond(n float64, burst int) Rate {
	if n <= 0 {
		return Rate{}
	}
	r := Rate{Gap: time.Duration(min(max(float64(time.Second)/n, 1), float64(longestGap)))}
	r.Allow(max(burst, 1))
	return r
}

// Allow lets at least burst come at once.
func (r *Rate) Allow(burst int) {
	if r.Gap > 0 {
		r.Burst = max(r.Burst, r.Gap*min(time.Duration(burst), longestBurst/r.Gap))
	}
}

// Bucket is a token bucket in eight bytes. It holds the time at which the bucket will be
// full again, on any clock that does not go back (the generic cell rate algorithm, ITU-T
// I.371).
type Bucket time.Duration

// Take spends a token and returns 0, or how long it is until there is one.
func (b *Bucket) Take(r Rate, now time.Duration) (wait time.Duration) {
	if r.Gap == 0 {
		return 0
	}
	full := max(time.Duration(*b), now)
	if wait = full + r.Gap - r.Burst - now; wait > 0 {
		return wait
	}
	*b = Bucket(full + r.Gap)
	return 0
}

// Charge spends n tokens, also ones that are not there yet. Later takes wait until the
// debt is paid.
func (b *Bucket) Charge(n int, r Rate, now time.Duration) {
	if r.Gap > 0 {
		*b = Bucket(max(time.Duration(*b), now) + r.Gap*time.Duration(n))
	}
}

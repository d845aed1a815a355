package gateway

import "time"

// rate is how often something may happen. The zero value sets no bound.
type rate struct {
	gap   time.Duration // between two in the long run
	burst time.Duration // gaps that a full bucket holds, added up
}

// Bounds that keep times from overflowing where they are added up.
const (
	longestGap   = 365 * 24 * time.Hour
	longestBurst = 100 * longestGap
)

// perSecond returns a rate; 0 sets no bound.
func perSecond(n float64, burst int) rate {
	if n <= 0 {
		return rate{}
	}
	r := rate{gap: time.Duration(min(max(float64(time.Second)/n, 1), float64(longestGap)))}
	r.allow(max(burst, 1))
	return r
}

// allow lets at least burst come at once.
func (r *rate) allow(burst int) {
	if r.gap > 0 {
		r.burst = max(r.burst, r.gap*min(time.Duration(burst), longestBurst/r.gap))
	}
}

// meter is a token bucket in eight bytes: when it will be full again, on any
// clock that does not go back (the generic cell rate algorithm, ITU-T I.371).
type meter time.Duration

// charge spends n tokens, whether there are so many or not: those that follow wait
// until the debt is paid.
func (m *meter) charge(n int, r rate, now time.Duration) {
	if r.gap > 0 {
		*m = meter(max(time.Duration(*m), now) + r.gap*time.Duration(n))
	}
}

// take spends a token and returns 0, or how long it is until there is one.
func (m *meter) take(r rate, now time.Duration) (wait time.Duration) {
	if r.gap == 0 {
		return 0
	}
	full := max(time.Duration(*m), now)
	if wait = full + r.gap - r.burst - now; wait > 0 {
		return wait
	}
	*m = meter(full + r.gap)
	return 0
}

package bench

import "time"

// pace spreads a number of things evenly over a time.
type pace struct {
	began  time.Time
	within time.Duration
	n      int
}

// due returns how many of them are to be done by now, and when the next one is.
func (p *pace) due(now time.Time) (n int, next time.Time) {
	elapsed := now.Sub(p.began)
	if elapsed >= p.within {
		return p.n, time.Time{}
	}
	n = int(float64(p.n) * float64(elapsed) / float64(p.within))
	return n, p.began.Add(time.Duration(float64(p.within) * float64(n+1) / float64(p.n)))
}

package client

import (
	"math/rand/v2"
	"time"
)

// backoff spreads retries with full jitter: before retry n (from 0) it waits
// anything up to base doubled n times, at most limit, so that the clients of a
// node that died do not come back together.
type backoff struct {
	base, limit time.Duration
}

func (b backoff) delay(retry int) time.Duration {
	ceiling := b.limit
	if retry < 30 && b.base<<retry < b.limit {
		ceiling = b.base << retry
	}
	return rand.N(ceiling + 1)
}

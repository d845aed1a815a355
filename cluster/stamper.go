package cluster

import "time"

// stampSlew is how many times slower than real time stamps go on while they are
// ahead of the cluster's time.
const stampSlew = 2

// stamper gives a leader's entries their stamps, which never go back. When the
// cluster's time falls behind the last stamp, because most clocks were ahead and were
// corrected, stamps do not wait for it: what ends by stamp, such as a rotated key,
// would live on for as long as the clocks were ahead. They go on more slowly than
// real time instead, until the cluster's time has caught up.
type stamper struct {
	wall func() int64         // the cluster's time, Unix ms
	boot func() time.Duration // time that cannot be set
	// stamps reach at least base at since, and go on from there.
	base  int64
	since time.Duration
}

// begin takes over from the last stamp.
func (s *stamper) begin(last int64) { s.base, s.since = last, s.boot() }

// next returns the stamp of an entry that is made now.
func (s *stamper) next() int64 {
	boot, wall := s.boot(), s.wall()
	slewed := s.base + (boot-s.since).Milliseconds()/stampSlew
	if wall < slewed {
		return slewed
	}
	s.base, s.since = wall, boot
	return wall
}

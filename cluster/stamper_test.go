package cluster

import (
	"testing"
	"time"
)

func TestStampsGoOnWhileTheClockIsBehind(t *testing.T) {
	const start, ahead = 1_000_000_000, 34_000 // ms
	var boot time.Duration
	wall := int64(start)
	s := stamper{wall: func() int64 { return wall }, boot: func() time.Duration { return boot }}
	s.begin(start)
	elapse := func(d time.Duration) {
		boot += d
		wall += d.Milliseconds()
	}
	elapse(time.Second)
	if got := s.next(); got != start+1000 {
		t.Fatalf("a second later it is %+d ms", got-start)
	}
	wall += ahead
	if got := s.next(); got != start+1000+ahead {
		t.Fatalf("clocks that are ahead make it %+d ms", got-start)
	}
	wall -= ahead
	// Asked as often as entries come, it goes on at half the pace.
	last := int64(0)
	for range 10_000 {
		elapse(time.Millisecond)
		got := s.next()
		if got < last {
			t.Fatalf("it went back from %d to %d", last, got)
		}
		last = got
	}
	if got := last - (start + 1000 + ahead); got != 5000 {
		t.Errorf("ten seconds after the correction it is %+d ms", got)
	}
	elapse(2 * ahead * time.Millisecond)
	if got := s.next(); got != wall {
		t.Errorf("it is %+d ms off when the clock should have caught up", got-wall)
	}
}

func TestStampsGoOnWithANewLeader(t *testing.T) {
	boot := time.Hour
	s := stamper{wall: func() int64 { return 1000 }, boot: func() time.Duration { return boot }}
	s.begin(9000)
	if got := s.next(); got != 9000 {
		t.Errorf("it begins at %d", got)
	}
	boot += 3 * time.Second
	if got := s.next(); got != 10_500 {
		t.Errorf("three seconds later it is %d", got)
	}
}

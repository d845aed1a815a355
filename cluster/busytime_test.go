package cluster

import (
	"testing"
	"time"
)

func TestBusyTimeIsAShareOfTheLastSeconds(t *testing.T) {
	var b busyTime
	start := time.Unix(1_000_000, 0)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	expect := func(now, want float64) {
		t.Helper()
		if got := b.ratio(at(now)); got < want-0.001 || got > want+0.001 {
			t.Errorf("after %v s it is %v, want %v", now, got, want)
		}
	}
	expect(0, 0)
	b.begin(at(0.5))
	b.end(at(2.5)) // over three seconds
	expect(3, 0.2)
	b.begin(at(3))
	expect(8, 0.7) // it goes on
	b.end(at(9))
	expect(10, 0.8)
	expect(12, 0.65) // the first half second and the second after it are too long ago
	expect(40, 0)
	b.begin(at(100))
	expect(900, 1)
}

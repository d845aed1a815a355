package cluster

import (
	"testing"
	"time"
)

func TestDiskJudge(t *testing.T) {
	const ms = time.Millisecond
	paces := func(b, c time.Duration) map[string]time.Duration { return map[string]time.Duration{"b": b, "c": c} }
	for _, test := range []struct {
		name   string
		own    time.Duration
		others map[string]time.Duration
		want   string
	}{
		{"both are faster", 200 * ms, paces(2*ms, ms), "c"},
		{"one is as slow", 200 * ms, paces(200*ms, ms), "c"},
		{"all are slow", 200 * ms, paces(180*ms, 220*ms), ""},
		{"a little slower", 200 * ms, paces(60*ms, 70*ms), ""},
		{"many times slower and still fast", 10 * ms, paces(ms, ms), ""},
		{"nobody can be asked", 200 * ms, nil, ""},
		{"nobody knows its own", 200 * ms, paces(0, 0), ""},
		{"its own is not known", 0, paces(ms, ms), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var j diskJudge
			now := time.Now()
			for i := range slowLooks {
				got := j.look(now, test.own, test.others)
				if i < slowLooks-1 && got != "" {
					t.Fatalf("it hands over at look %d", i+1)
				}
				if i == slowLooks-1 && got != test.want {
					t.Errorf("it hands over to %q, want %q", got, test.want)
				}
			}
		})
	}
}

// Leadership does not swing: one look that is good begins the count anew, and whoever
// has handed over does not do so again for a while.
func TestDiskJudgeIsSlow(t *testing.T) {
	var j diskJudge
	now := time.Now()
	look := func(own time.Duration) string {
		return j.look(now, own, map[string]time.Duration{"b": time.Millisecond})
	}
	for range slowLooks - 1 {
		look(time.Second)
	}
	look(time.Millisecond)
	for range slowLooks - 1 {
		if look(time.Second) != "" {
			t.Fatal("a good look did not count")
		}
	}
	if look(time.Second) != "b" {
		t.Fatal("it does not hand over")
	}
	for range 100 {
		if look(time.Second) != "" {
			t.Fatal("it hands over again at once")
		}
	}
	now = now.Add(slowRest)
	if look(time.Second) != "b" {
		t.Error("it never hands over again")
	}
}

package gateway

import "testing"

func TestCrowdThatLeft(t *testing.T) {
	var c crowd
	for i, step := range []struct {
		now  int
		left bool
	}{
		{0, false}, {500, false}, {0, false}, {0, false}, // few
		{5000, false}, {15000, false}, {9000, false}, {9000, false}, // not a half
		{4000, false}, {1000, false}, {1000, true}, // they are leaving, and then have left
		{1000, false}, {0, false}, {0, true}, {0, false},
	} {
		if got := c.left(step.now); got != step.left {
			t.Errorf("step %d, %d clients: %v", i, step.now, got)
		}
	}
}

package logbridge

import (
	"fmt"
	"testing"
	"time"
)

func TestThrottleLetsOneOfEachKindThrough(t *testing.T) {
	var lines Throttle
	now := time.Now()
	passed := 0
	for n := range 1000 {
		if _, ok := lines.Pass(fmt.Sprint("kind ", n%3), now); ok {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d lines of 3 kinds passed", passed)
	}
	for n := range 1000 {
		if _, ok := lines.Pass(fmt.Sprint("made up ", n), now); ok {
			passed++
		}
	}
	if passed != throttleKinds {
		t.Errorf("%d lines of any number of kinds passed", passed)
	}
	muted, ok := lines.Pass("kind 0", now.Add(throttleWindow+1))
	if want := 2000 - throttleKinds; !ok || muted != want {
		t.Errorf("in the next window %t, after %d muted lines, want %d", ok, muted, want)
	}
}

func TestKindOfLine(t *testing.T) {
	for line, want := range map[string]string{
		"memberlist: Decrypt packet failed: no installed keys from=1.2.3.4:5": "memberlist: Decrypt packet failed",
		"memberlist: Refuting a dead message (from: n1)":                      "memberlist: Refuting a dead message (from",
		"short": "short",
	} {
		if got := kindOfLine([]byte(line)); got != want {
			t.Errorf("%q is of kind %q, want %q", line, got, want)
		}
	}
}

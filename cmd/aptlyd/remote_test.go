package main

import (
	"testing"
	"time"
)

func TestTimesAreUTC(t *testing.T) {
	before := time.Local
	time.Local = time.FixedZone("east", 3600)
	defer func() { time.Local = before }()
	if got := moment(1_764_000_000_000); got != "2025-11-24 16:00:00" {
		t.Errorf("got %s", got)
	}
	if got := moment(0); got != "-" {
		t.Errorf("got %s", got)
	}
}

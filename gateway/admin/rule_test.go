package admin

import (
	"testing"
	"time"
)

func TestShowDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		24 * time.Hour: "24h", 90 * time.Minute: "1h30m", time.Minute: "1m", 10 * time.Minute: "10m", 100 * time.Hour: "100h",
		time.Second: "1s", 61 * time.Second: "1m1s", 3601 * time.Second: "1h0m1s", 20 * time.Hour: "20h",
	} {
		if got := showDuration(d); got != want {
			t.Errorf("%v is shown as %s, want %s", d, got, want)
		}
	}
}

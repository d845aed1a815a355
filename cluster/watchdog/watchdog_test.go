package watchdog

import (
	"testing"
	"time"
)

func TestWatchdogGivesUpOnAStalledWrite(t *testing.T) {
	gaveUp := make(chan string, 10)
	dog := New(50*time.Millisecond, func(what string, _ time.Duration) { gaveUp <- what })
	defer dog.Close()
	dog.Watch("a quick write")()
	done := dog.Watch("a write that hangs")
	defer done()
	select {
	case got := <-gaveUp:
		if got != "a write that hangs" {
			t.Errorf("it blames %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("a stalled write went unnoticed")
	}
}

func TestWatchdogCountsItsOwnTicks(t *testing.T) {
	dog := &Watchdog{limit: Ticks, watches: make(map[*watch]struct{})}
	defer dog.Watch("a write")()
	for i := range Ticks {
		if stalled := dog.tick(); len(stalled) > 0 {
			t.Fatalf("it gave up after %d ticks", i+1)
		}
	}
	if len(dog.tick()) != 1 {
		t.Error("it did not give up")
	}
	if len(dog.tick()) != 0 {
		t.Error("it gives up twice")
	}
}

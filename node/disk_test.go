package node

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestDiskWatchFollowsTheSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		var yields atomic.Int32
		free.Store(1000)
		d := &diskWatch{
			reserve: 100,
			free:    func() (uint64, error) { return free.Load(), nil },
			size:    func() (uint64, error) { return 7, nil },
			yield:   func(context.Context) { yields.Add(1) },
			log:     slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.run(ctx) }()

		time.Sleep(diskPoll + 1)
		if d.low.Load() || yields.Load() != 0 {
			t.Error("a disk with room counts as full")
		}
		free.Store(99)
		time.Sleep(diskPoll + 1)
		if !d.low.Load() || yields.Load() != 1 {
			t.Errorf("a full disk: low %v, leadership handed over %d times", d.low.Load(), yields.Load())
		}
		time.Sleep(handOverWait / 2)
		if yields.Load() != 1 {
			t.Error("leadership is handed over again and again")
		}
		free.Store(100)
		time.Sleep(diskPoll + 1)
		if d.low.Load() {
			t.Error("space is back, but publishes are still refused")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// The size of the folder is a figure for people: that it cannot be told, as where the
// process has no descriptor left, stops nothing.
func TestDiskWatchGoesOnWithoutTheSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var many atomic.Bool
		many.Store(true)
		d := &diskWatch{
			free: func() (uint64, error) { return 1000, nil },
			size: func() (uint64, error) {
				if many.Load() {
					return 0, syscall.EMFILE
				}
				return 7, nil
			},
			log: slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.run(ctx) }()
		time.Sleep(3 * diskPoll)
		many.Store(false)
		time.Sleep(2 * diskPoll)
		if d.used.Load() != 7 {
			t.Errorf("the size is %d", d.used.Load())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestDiskWatchThatCannotLookEnds(t *testing.T) {
	broken := errors.New("no such device")
	d := &diskWatch{free: func() (uint64, error) { return 0, broken }, log: slog.New(slog.DiscardHandler)}
	if err := d.run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

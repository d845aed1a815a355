package repeat

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		n := 0
		for now := range Every(ctx, 3*time.Second) {
			if n++; now.Sub(began) != time.Duration(n)*3*time.Second {
				t.Errorf("tick %d comes after %v", n, now.Sub(began))
			}
		}
		if n != 3 || ctx.Err() == nil {
			t.Errorf("%d ticks in ten seconds", n)
		}
		for range Every(t.Context(), time.Second) {
			break
		}
	})
}

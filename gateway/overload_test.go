package gateway

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A server whose loop hangs gives no sign of life, though all others turn.
func TestServerIsResponsiveWhileItsLoopsTurn(t *testing.T) {
	h := newHarness(t, "portable")
	within := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		return h.server.Responsive(ctx)
	}
	if err := within(patience); err != nil {
		t.Fatal(err)
	}
	hang, hangs := make(chan struct{}), make(chan struct{})
	h.server.loops[1].mail.post(func() {
		close(hangs)
		<-hang
	})
	<-hangs
	if err := within(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "an event loop does not turn") {
		t.Errorf("with a loop that hangs: %v", err)
	}
	close(hang)
	if err := within(patience); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

package gateway

import (
	"errors"
	"net"
	"testing"
	"time"
)

// brokenListener can accept nobody, for good.
type brokenListener struct{ net.Listener }

var errBroken = errors.New("listener is broken")

func (brokenListener) Accept() (net.Conn, error) { return nil, errBroken }

func TestAListenerThatFailsIsFatal(t *testing.T) {
	told := make(chan error, 1)
	newHarness(t, "portable", func(cfg *Config) {
		cfg.Listener = brokenListener{cfg.Listener}
		cfg.Fatal = func(err error) { told <- err }
	})
	select {
	case err := <-told:
		if !errors.Is(err, errBroken) {
			t.Errorf("told %v, want %v", err, errBroken)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody is told that no client can be served")
	}
}

package gossip

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAdvertisedNameThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := resolveAdvertised(t.Context(), Config{
			Advertise: "nowhere.example", Logger: slog.New(slog.DiscardHandler),
			LookUp: func(context.Context, string) ([]net.IP, error) { return nil, errors.New("no such host") },
		})
		if waited := time.Since(began); err == nil || waited != resolvePatience ||
			!strings.Contains(err.Error(), "nowhere.example") || !strings.Contains(err.Error(), "no such host") {
			t.Errorf("after %v: %v", waited, err)
		}
	})
}

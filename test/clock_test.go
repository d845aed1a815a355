package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// startClusterWithClocks starts a cluster whose nodes have clocks that set moves.
func startClusterWithClocks(t *testing.T, n int) (c spawned, set func(node int, offset time.Duration)) {
	t.Helper()
	dir := t.TempDir()
	patched := filepath.Join(dir, "aptlyd")
	if err := lab.Build(patched, []string{filepath.Join("torture", "harness.patch")}); err != nil {
		t.Fatal(err)
	}
	clock := func(node int) string { return filepath.Join(dir, fmt.Sprintf("clock-%d", node)) }
	options := bench.SpawnOptions{Nodes: n, Binary: patched, Dir: dir}
	for i := range n {
		options.Hosts = append(options.Hosts, bench.Host{IP: "127.0.0.1", Env: []string{"APTLYD_TORTURE_CLOCK=" + clock(i)}})
	}
	set = func(node int, offset time.Duration) {
		t.Helper()
		text := strconv.FormatInt(offset.Milliseconds(), 10)
		if err := os.WriteFile(clock(node), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return spawn(t, options), set
}

// Most clocks were ahead for some seconds and were corrected. A key that is rotated then
// ends, at the latest after twice its overlap, and not after all the time by which they
// were ahead.
func TestKeyEndsAlthoughClocksWereAhead(t *testing.T) {
	const ahead, overlap = 60 * time.Second, 5 * time.Second
	c, set := startClusterWithClocks(t, 3)
	for i := range 2 {
		set(i, ahead)
	}
	eventually(t, deadline, func() error {
		r, err := rest(c, 2).Publish(t.Context(), client.Publication{Channel: "c", Data: 1})
		if err != nil {
			return err
		}
		if stamped := time.Until(time.UnixMilli(r.Timestamp)); stamped < ahead/2 {
			return fmt.Errorf("the cluster is %v ahead", stamped)
		}
		return nil
	})
	for i := range 2 {
		set(i, 0)
	}
	old := leak(t, c)
	if _, err := admin(c, 1).RotateKey(within(t, deadline), old.ID, overlap); err != nil {
		t.Fatal(err)
	}
	rotated := time.Now()
	with := client.REST{BaseURL: url(c, 2), APIKey: old.Text}
	eventually(t, 2*deadline, func() error {
		_, err := with.Publish(t.Context(), client.Publication{Channel: "c", Data: 2})
		var refusal *client.Error
		if err == nil || !errors.As(err, &refusal) || refusal.Code != client.CodeInvalidKey {
			return fmt.Errorf("with the old key: %w", err)
		}
		return nil
	})
	took := time.Since(rotated)
	t.Logf("a key with an overlap of %v ends after %v", overlap, took)
	// Promised, so asserted. The last stamp may be a second old when the key is rotated.
	if took > 2*overlap+3*time.Second {
		t.Errorf("a key with an overlap of %v is taken for %v", overlap, took)
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// complaints counts what Raft logs of peers that it cannot reach.
type complaints struct {
	slog.Handler
	beats, appends atomic.Int32
}

func (c *complaints) Enabled(context.Context, slog.Level) bool { return true }

func (c *complaints) WithAttrs([]slog.Attr) slog.Handler { return c }

func (c *complaints) Handle(_ context.Context, r slog.Record) error {
	switch {
	case strings.Contains(r.Message, "failed to heartbeat"):
		c.beats.Add(1)
	case strings.Contains(r.Message, "failed to appendEntries"):
		c.appends.Add(1)
	}
	return nil
}

// missOne returns a cluster of three without one of its followers, once so many
// heartbeats to that one have failed.
func missOne(t *testing.T, beats int32) (tc *testCluster, away *testNode, heard *complaints) {
	t.Helper()
	heard = &complaints{Handler: slog.DiscardHandler}
	tc = newTestCluster(t, 3, func(c *Config) { c.Logger = slog.New(heard) })
	away = tc.follower()
	away.stop(t)
	heard.beats.Store(0)
	heard.appends.Store(0)
	eventually(t, func() error {
		if r := tc.leader().Apply(within(t), []byte("meanwhile")); r.Err != nil {
			return r.Err
		}
		if n := heard.beats.Load(); n < beats {
			return fmt.Errorf("%d heartbeats have failed", n)
		}
		return nil
	})
	return tc, away, heard
}

// With every failure Raft waits longer before it replicates to a peer again, so
// there must not be many while the peer is away.
func TestAbsenceIsOneFailure(t *testing.T) {
	t.Parallel()
	tc, away, heard := missOne(t, 20)
	if n := heard.appends.Load(); n > 4 {
		t.Errorf("replication failed %d times in one absence", n)
	}
	back := tc.start(away.cfg.NodeName, 3, away.cfg.NodeName)
	index, _ := tc.leader().applier.progress()
	if err := back.WaitApplied(within(t), index); err != nil {
		t.Error(err)
	}
}

// Raft learns that it is to stop replicating to a peer only between calls, so a
// call to one that is away must not wait for it when it is no member any more.
func TestRemovedMemberThatIsAwayIsLeftAlone(t *testing.T) {
	t.Parallel()
	tc, away, heard := missOne(t, 5)
	if err := tc.leader().Remove(within(t), away.cfg.NodeName); err != nil {
		t.Fatal(err)
	}
	// It is sent several each second, if any.
	quiet := 4 * away.cfg.ElectionTimeout
	beats, since := heard.beats.Load(), time.Now()
	eventually(t, func() error {
		if n := heard.beats.Load(); n != beats {
			beats, since = n, time.Now()
		}
		if time.Since(since) < quiet {
			return errors.New("the member that was removed is still sent heartbeats")
		}
		return nil
	})
}

// One call carries what has room in it, and Raft goes on behind that.
func TestEntriesOfOneCallAreBounded(t *testing.T) {
	t.Parallel()
	entries := make([]*raft.Log, 5)
	for i := range entries {
		entries[i] = &raft.Log{Data: make([]byte, 10)}
	}
	for bytes, want := range map[int]int{0: 1, 9: 1, 10: 1, 20: 2, 29: 2, 50: 5, 99: 5} {
		if got := len(upTo(bytes, entries)); got != want {
			t.Errorf("%d entries of 10 bytes have room in %d bytes, want %d", got, bytes, want)
		}
	}
	if got := upTo(9, nil); len(got) != 0 {
		t.Errorf("%d entries of none", len(got))
	}

	tc := newTestCluster(t, 3, func(*Config) {})
	away := tc.follower()
	away.kill(t)
	const count = 3 * maxAppendEntries / 2
	for i := range count {
		if r := tc.leader().Apply(within(t), fmt.Appendf(nil, "%d %0*d", i, maxAppendBytes/20, 0)); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	restored := away.machine.restored
	back := tc.start(away.cfg.NodeName, 3, away.cfg.NodeName)
	tc.ready()
	tc.agree(count)
	if back.machine.restored != restored {
		t.Error("it has caught up with a snapshot")
	}
}

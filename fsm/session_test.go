package fsm

import (
	"fmt"
	"reflect"
	"testing"
)

// batch sends a batch as some forwarder does.
func (m *machine) batch(session [16]byte, seq, acked uint64, data ...string) ([][]byte, uint64) {
	var commands [][]byte
	for _, d := range data {
		commands = append(commands, Publish{Channel: news, Data: []byte(d)}.Encode())
	}
	m.index++
	m.BeginEntry(m.index, 1, m.stamp)
	defer m.Notify()
	return m.ApplyBatch(session, seq, acked, commands)
}

func TestSessionAppliesABatchOnce(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	s := [16]byte{9}
	if r, next := m.batch(s, 2, 0, "x"); r != nil || next != 1 {
		t.Fatalf("unknown session: %q, %d", r, next)
	}
	one, next := m.batch(s, 1, 0, "a", "b")
	if len(one) != 2 || next != 2 {
		t.Fatalf("first batch: %q, %d", one, next)
	}
	two, _ := m.batch(s, 2, 0, "c")
	repeat := func(m *machine) {
		t.Helper()
		if r, next := m.batch(s, 1, 0, "a", "b"); !reflect.DeepEqual(r, one) || next != 3 {
			t.Errorf("first batch again: %q, %d, want %q", r, next, one)
		}
		if r, next := m.batch(s, 2, 0, "c"); !reflect.DeepEqual(r, two) || next != 3 {
			t.Errorf("second batch again: %q, %d, want %q", r, next, two)
		}
		if r, next := m.batch(s, 4, 0, "e"); r != nil || next != 3 {
			t.Errorf("a batch too far: %q, %d", r, next)
		}
		if got := m.read(news, 0); got != "a b c" {
			t.Errorf("read %s", got)
		}
	}
	repeat(m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	repeat(m)
	if r, next := m.batch(s, 2, 1, "c"); !reflect.DeepEqual(r, two) || next != 3 {
		t.Errorf("second batch, first acked: %q, %d", r, next)
	}
	if r, next := m.batch(s, 1, 1, "a", "b"); r != nil || next != 3 {
		t.Errorf("a batch that was acked: %q, %d", r, next)
	}
	if n := len(m.sessions.byID[s].results); n != 1 {
		t.Errorf("results of %d batches are held, want 1", n)
	}
	if r, _ := m.batch(s, 3, 99, "d"); len(r) != 1 {
		t.Errorf("third batch: %q", r)
	}
	if got := m.read(news, 0); got != "a b c d" {
		t.Errorf("read %s", got)
	}
}

func TestEmptyBatchCounts(t *testing.T) {
	m := openMachine(t, t.TempDir())
	r, next := m.batch([16]byte{9}, 1, 0)
	if r == nil || len(r) != 0 || next != 2 {
		t.Errorf("empty batch: %v, %d", r, next)
	}
}

func TestIdleSessionIsForgotten(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	idle, busy := [16]byte{8}, [16]byte{9}
	m.batch(idle, 1, 0, "a")
	m.batch(busy, 1, 0, "b")
	m.tick(sessionWindow / 2)
	m.batch(busy, 2, 1, "c")
	m.flushed()
	m.tick(sessionWindow/2 - 1)
	if _, next := m.batch(idle, 1, 0, "a"); next != 2 {
		t.Fatalf("session forgotten 1 ms early: %d", next)
	}
	m.tick(sessionWindow)
	if len(m.sessions.byID) != 0 {
		t.Fatalf("%d sessions are left", len(m.sessions.byID))
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if _, next := m.batch(busy, 3, 2, "d"); next != 1 {
		t.Errorf("a forgotten session came back from disk: %d", next)
	}
	if r, _ := m.batch(busy, 1, 0, "d"); len(r) != 1 {
		t.Errorf("its first batch anew: %q", r)
	}
}

func TestSessionsDoNotMeet(t *testing.T) {
	m := openMachine(t, t.TempDir())
	m.createProject()
	for i := range byte(3) {
		for seq := range uint64(3) {
			r, _ := m.batch([16]byte{10 + i}, seq+1, seq, fmt.Sprint(i, seq))
			if len(r) != 1 {
				t.Fatalf("session %d, batch %d: %q", i, seq+1, r)
			}
		}
	}
	if head := m.info(news).Head; head != 9 {
		t.Errorf("%d messages, want 9", head)
	}
}

package cluster

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// testState is everything a testMachine knows.
type testState struct {
	Index, Term uint64
	Stamp       int64
	Commands    []string
	Sessions    map[Session]testSession
}

type testSession struct {
	Next    uint64
	Results map[uint64][][]byte
}

// testMachine keeps the commands it applied, in order, and answers each with its
// position. It is durable up to the last Flush.
type testMachine struct {
	path string

	mu       sync.Mutex
	state    testState
	durable  []byte
	deadline int64
	settled  int
	onApply  func(command string)
	restored int

	firstStamp int64 // of what was applied since it was opened
}

func openTestMachine(t testing.TB, dir string) *testMachine {
	t.Helper()
	m := &testMachine{path: filepath.Join(dir, "machine")}
	m.state.Sessions = make(map[Session]testSession)
	raw, err := os.ReadFile(m.path)
	if err == nil {
		if err := m.load(raw); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *testMachine) load(raw []byte) error {
	var state testState
	if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&state); err != nil {
		return err
	}
	if state.Sessions == nil {
		state.Sessions = make(map[Session]testSession)
	}
	m.state, m.durable = state, raw
	return nil
}

func (m *testMachine) Applied() (uint64, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Index, m.state.Term
}

func (m *testMachine) Stamp() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Stamp
}

// Check takes every command but those that begin with a mark of how to refuse them.
func (m *testMachine) Check(command []byte, _ bool) (uint32, error) {
	switch {
	case bytes.HasPrefix(command, []byte("unreadable")):
		return 0, errors.New("unreadable")
	case bytes.HasPrefix(command, []byte("level 9")):
		return 9, nil
	}
	return 1, nil
}

func (m *testMachine) Level() uint32 { return 1 }

// anyCommand is a check that all commands pass.
func anyCommand([]byte) error { return nil }

func (m *testMachine) Deadline() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deadline
}

func (m *testMachine) BeginEntry(index, term uint64, stamp int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if index <= m.state.Index || term < m.state.Term {
		panic(fmt.Sprintf("entry %d/%d after %d/%d", index, term, m.state.Index, m.state.Term))
	}
	if stamp != 0 && stamp < m.state.Stamp {
		panic(fmt.Sprintf("stamp %d after %d", stamp, m.state.Stamp))
	}
	m.state.Index, m.state.Term = index, term
	if stamp != 0 {
		m.state.Stamp = stamp
		if m.firstStamp == 0 {
			m.firstStamp = stamp
		}
	}
}

func (m *testMachine) ApplyBatch(session [16]byte, seq, acked uint64, commands [][]byte) ([][]byte, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.state.Sessions[session]
	if !ok {
		s = testSession{Next: 1, Results: make(map[uint64][][]byte)}
	}
	if results, seen := s.Results[seq]; seen {
		return results, s.Next
	}
	if seq != s.Next {
		return nil, s.Next
	}
	results := make([][]byte, len(commands))
	for i, command := range commands {
		m.state.Commands = append(m.state.Commands, string(command))
		results[i] = fmt.Appendf(nil, "%d", len(m.state.Commands))
		if m.onApply != nil {
			m.onApply(string(command))
		}
	}
	for old := range s.Results {
		if old <= acked {
			delete(s.Results, old)
		}
	}
	s.Results[seq] = results
	s.Next++
	m.state.Sessions[session] = s
	return results, s.Next
}

func (m *testMachine) Notify() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settled++
}

func (m *testMachine) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(m.state); err != nil {
		return err
	}
	m.durable = b.Bytes()
	return os.WriteFile(m.path, m.durable, 0o600)
}

func (m *testMachine) Snapshot() (io.ReadCloser, int64, uint64, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var state testState
	if err := gob.NewDecoder(bytes.NewReader(m.durable)).Decode(&state); err != nil {
		return nil, 0, 0, 0, err
	}
	return io.NopCloser(bytes.NewReader(m.durable)), int64(len(m.durable)), state.Index, state.Term, nil
}

func (m *testMachine) Restore(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(raw); err != nil {
		return err
	}
	m.restored++
	return os.WriteFile(m.path, raw, 0o600)
}

// commands returns a copy of what was applied.
func (m *testMachine) commands() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.state.Commands)
}

package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestPublishedMessagesAreReadBack(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	first := m.publish(5, news, `"a"`, `"b"`)
	want := []Receipt{{1, start + 6, false}, {2, start + 6, false}}
	if !reflect.DeepEqual(first, want) {
		t.Fatalf("receipts %v, want %v", first, want)
	}
	m.flushed()
	m.publish(1, news, `"c"`)
	check := func(m *machine) {
		t.Helper()
		if got := m.read(news, 0); got != `"a" "b" "c"` {
			t.Errorf("read %s", got)
		}
		if got := m.read(news, 2); got != `"c"` {
			t.Errorf("read after 2 %s", got)
		}
		if got, want := m.info(news), (ChannelInfo{"news", 3, 1, 9}); got != want {
			t.Errorf("info %+v, want %+v", got, want)
		}
	}
	check(m)
	m.flushed()
	check(m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	check(openMachine(t, dir))
}

func TestReadLimits(t *testing.T) {
	for _, flush := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushed=%t", flush), func(t *testing.T) {
			m := openMachine(t, t.TempDir(), lazy)
			m.createProject()
			m.publish(1, news, `"aaaa"`, `"bbbb"`, `"cccc"`)
			if flush {
				m.flushed()
				m.evictAll()
			}
			for _, c := range []struct {
				after           uint64
				messages, bytes int
				want            int
			}{
				{0, 10, 100, 3},
				{0, 2, 100, 2},
				{0, 10, 12, 2},
				{0, 10, 11, 1},
				{0, 10, 0, 1},
				{0, 0, 100, 1},
				{1, 10, 100, 2},
				{3, 10, 100, 0},
				{9, 10, 100, 0},
				{1<<64 - 1, 10, 100, 0},
			} {
				page, err := m.Read(news, c.after, c.messages, c.bytes)
				if err != nil {
					t.Fatal(err)
				}
				if len(page.Messages) != c.want || page.Head != 3 || page.Earliest != 1 {
					t.Errorf("read after %d, %d messages, %d bytes: %d messages, head %d, earliest %d",
						c.after, c.messages, c.bytes, len(page.Messages), page.Head, page.Earliest)
				}
			}
		})
	}
}

// evictAll lets every channel go that can be.
func (m *machine) evictAll() {
	m.mu.Lock()
	limit := m.cache.limit
	m.cache.limit = 0
	m.mu.Unlock()
	m.evict()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cache.limit = limit
	if len(m.channels) > 0 {
		m.t.Fatalf("%d channels are still resident", len(m.channels))
	}
}

func TestUnknownThings(t *testing.T) {
	m := openMachine(t, t.TempDir())
	if _, err := m.Channel(news); !errors.Is(err, ErrNotFound) {
		t.Errorf("channel without project: %v", err)
	}
	m.createProject()
	if got, want := m.info(news), (ChannelInfo{"news", 0, 1, 0}); got != want {
		t.Errorf("new channel %+v, want %+v", got, want)
	}
	if at, err := m.OffsetAt(news, 0); at != 1 || err != nil {
		t.Errorf("offset in new channel %d, %v", at, err)
	}
	for name, want := range map[string]error{
		"": ErrInvalid, "a\x00b": ErrInvalid,
		string(bytes.Repeat([]byte("x"), 256)): ErrInvalid,
	} {
		r := m.entry(1, Publish{Channel: ChannelKey{projectID, name}, Data: []byte("1")}.Encode())
		if _, err := DecodeReceipt(r[0]); !errors.Is(err, want) {
			t.Errorf("publish to %q: %v, want %v", name, err, want)
		}
		if _, err := m.Channel(ChannelKey{projectID, name}); !errors.Is(err, want) {
			t.Errorf("channel %q: %v, want %v", name, err, want)
		}
	}
	r := m.entry(1, Publish{Channel: ChannelKey{"p2", "c"}, Data: []byte("1")}.Encode())
	if _, err := DecodeReceipt(r[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("publish without project: %v", err)
	}
}

func TestReplayedEntriesAreSkipped(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	m.publish(1, news, "1")
	m.flushed()
	m.publish(1, news, "2")
	want := m.hash()
	stamp := m.stamp
	m.kill()

	m = openMachine(t, dir, lazy)
	if index, term := m.Applied(); index != 2 || term != 1 {
		t.Fatalf("applied %d in term %d, want 2 in 1", index, term)
	}
	m.BeginEntry(2, 1, stamp-1)
	if results, next := m.ApplyBatch(m.session, 2, 1,
		[][]byte{Publish{Channel: news, Data: []byte("1")}.Encode()}); results != nil || next != 0 {
		t.Errorf("a replayed batch gave %q, %d", results, next)
	}
	m.BeginEntry(3, 1, stamp)
	if results, _ := m.ApplyBatch(m.session, 3, 2,
		[][]byte{Publish{Channel: news, Data: []byte("2")}.Encode()}); len(results) != 1 {
		t.Errorf("a lost batch gave %q", results)
	}
	m.Notify()
	if m.hash() != want {
		t.Error("the state is another after the replay")
	}
}

func TestAppliedIsTheLastWholeEntry(t *testing.T) {
	m := openMachine(t, t.TempDir())
	m.createProject()
	m.BeginEntry(2, 7, start+10)
	if index, _ := m.Applied(); index != 1 {
		t.Errorf("applied %d in the middle of entry 2", index)
	}
	m.Notify()
	if index, term := m.Applied(); index != 2 || term != 7 {
		t.Errorf("applied %d, %d", index, term)
	}
	m.BeginEntry(3, 7, start-5)
	m.Notify()
	if got := m.Stamp(); got != start+10 {
		t.Errorf("the stamp went back to %d", got)
	}
}

func TestInterruptedFirstStart(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{newStateFile, restoringState} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half a file"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := openMachine(t, dir)
	m.createProject()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != stateFile {
		t.Errorf("the folder holds %v", entries)
	}
	info, err := entries[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("state file has mode %v", info.Mode())
	}
}

func TestChannelsAreListedByName(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	m.must(CreateProject{Project: Project{ID: "p", Name: "other"}}.Encode(),
		CreateProject{Project: Project{ID: "p11"}}.Encode())
	for i, name := range []string{"b", "aa", "z", "a"} {
		m.publish(1, ChannelKey{projectID, name}, "1")
		m.publish(1, ChannelKey{"p", name + "x"}, "1")
		if i == 1 {
			m.flushed()
			m.evictAll()
		}
	}
	var names []string
	for after := ""; ; {
		page, err := m.Channels(projectID, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, info := range page {
			names = append(names, info.Name)
			if info.Head != 1 || info.Earliest != 1 || info.Bytes != 1 {
				t.Errorf("listed %+v", info)
			}
		}
		after = page[len(page)-1].Name
	}
	if want := []string{"a", "aa", "b", "z"}; !reflect.DeepEqual(names, want) {
		t.Errorf("listed %q, want %q", names, want)
	}
}

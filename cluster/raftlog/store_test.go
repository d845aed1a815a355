package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/aptlyd/aptlyd/internal/durable"
)

func testOptions(dir string, segmentBytes int, fatal func(error)) Options {
	return Options{
		Dir: dir, SegmentBytes: segmentBytes, CacheBytes: 2 << 10, WriteStall: time.Minute,
		Fatal: fatal, Logger: slog.New(slog.DiscardHandler),
	}
}

// openTestLog opens a log store with small segments and a small cache.
func openTestLog(t testing.TB, dir string, fatal func(error)) (*Store, error) {
	t.Helper()
	return Open(testOptions(dir, 8<<10, fatal))
}

// failOn fails the test when a store gives up.
func failOn(t testing.TB) func(error) {
	return func(err error) { t.Errorf("the store gave up: %v", err) }
}

func entryAt(index, term uint64, data string) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: []byte(data)}
}

// storeSynced stores entries and returns when they are on the disk.
func storeSynced(store *Store, logs ...*raft.Log) error {
	if err := store.StoreLogs(logs); err != nil {
		return err
	}
	return store.AwaitSynced(logs[len(logs)-1].Index)
}

// TestLogStoreAgreesWithAModel runs random operations of the kinds that Raft
// does against the store and against Raft's own store in memory.
func TestLogStoreAgreesWithAModel(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var runs atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		dir := filepath.Join(root, fmt.Sprint(runs.Add(1)))
		store, err := openTestLog(t, dir, failOn(t))
		if err != nil {
			rt.Fatal(err)
		}
		defer func() {
			if err := store.Close(); err != nil {
				rt.Fatal(err)
			}
			if err := os.RemoveAll(dir); err != nil {
				rt.Fatal(err)
			}
		}()
		model := raft.NewInmemStore()
		next, term := uint64(1), uint64(1)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				var logs []*raft.Log
				for range rapid.IntRange(1, 6).Draw(rt, "count") {
					data := rapid.StringN(0, 300, 400).Draw(rt, "data")
					logs = append(logs, entryAt(next, term, data))
					next++
				}
				if err := store.StoreLogs(logs); err != nil {
					rt.Fatal(err)
				}
				if err := model.StoreLogs(logs); err != nil {
					rt.Fatal(err)
				}
			},
			"truncate the end": func(rt *rapid.T) {
				first, last := modelBounds(rt, model)
				if last == 0 {
					return
				}
				from := rapid.Uint64Range(first, last).Draw(rt, "from")
				deleteBoth(rt, store, model, from, last)
				next = from
				term++
			},
			"truncate the front": func(rt *rapid.T) {
				first, last := modelBounds(rt, model)
				if last == 0 {
					return
				}
				deleteBoth(rt, store, model, first, rapid.Uint64Range(first, last).Draw(rt, "to"))
			},
			"jump behind a snapshot": func(rt *rapid.T) {
				first, last := modelBounds(rt, model)
				if last != 0 {
					deleteBoth(rt, store, model, first, last)
				}
				next += rapid.Uint64Range(1, 100).Draw(rt, "by")
			},
			"reopen": func(rt *rapid.T) {
				if err := store.Close(); err != nil {
					rt.Fatal(err)
				}
				if store, err = openTestLog(t, dir, failOn(t)); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) { compareLogs(rt, store, model) },
		})
	})
}

func modelBounds(rt *rapid.T, model *raft.InmemStore) (first, last uint64) {
	first, last, err := logBounds(model)
	if err != nil {
		rt.Fatal(err)
	}
	return first, last
}

func deleteBoth(rt *rapid.T, store *Store, model *raft.InmemStore, from, to uint64) {
	if err := store.DeleteRange(from, to); err != nil {
		rt.Fatal(err)
	}
	if err := model.DeleteRange(from, to); err != nil {
		rt.Fatal(err)
	}
}

func compareLogs(rt *rapid.T, store *Store, model *raft.InmemStore) {
	first, last := modelBounds(rt, model)
	gotFirst, gotLast, err := logBounds(store)
	if err != nil {
		rt.Fatal(err)
	}
	if first != gotFirst || last != gotLast {
		rt.Fatalf("the log is %d to %d, want %d to %d", gotFirst, gotLast, first, last)
	}
	for index := max(first, 1) - 1; index <= last+1; index++ {
		var got, want raft.Log
		gotErr, wantErr := store.GetLog(index, &got), model.GetLog(index, &want)
		if gotErr != wantErr { //nolint:errorlint // Raft compares the same way
			rt.Fatalf("entry %d: %v, want %v", index, gotErr, wantErr)
		}
		if gotErr == nil && (got.Index != want.Index || got.Term != want.Term || got.Type != want.Type ||
			!bytes.Equal(got.Data, want.Data) || len(got.Extensions) != 0) {
			rt.Fatalf("entry %d: %+v, want %+v", index, got, want)
		}
	}
}

func TestLogStoreKeepsVotes(t *testing.T) {
	dir := t.TempDir()
	store, err := openTestLog(t, dir, failOn(t))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := store.GetUint64([]byte("term")); n != 0 || err != nil {
		t.Errorf("a term that was never stored is %d, %v", n, err)
	}
	if err := store.SetUint64([]byte("term"), 7); err != nil {
		t.Fatal(err)
	}
	if err := store.Set([]byte("vote"), []byte("somebody")); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if store, err = openTestLog(t, dir, failOn(t)); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	term, err := store.GetUint64([]byte("term"))
	if vote, err2 := store.Get([]byte("vote")); term != 7 || string(vote) != "somebody" || errors.Join(err, err2) != nil {
		t.Errorf("read %d and %q, %v", term, vote, errors.Join(err, err2))
	}
}

// TestADamagedVoteIsNeverCounted: bbolt, which holds it, would not notice.
func TestADamagedVoteIsNeverCounted(t *testing.T) {
	dir := t.TempDir()
	store, err := openTestLog(t, dir, failOn(t))
	if err != nil {
		t.Fatal(err)
	}
	const vote = "an id like no other bytes"
	if err := store.Set([]byte("vote"), []byte(vote)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "wal-meta.db")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte(vote)) {
		t.Fatal("the vote is kept elsewhere")
	}
	content = bytes.ReplaceAll(content, []byte(vote), []byte("b"+vote[1:]))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var gaveUp error
	if store, err = openTestLog(t, dir, func(err error) { gaveUp = err }); err == nil {
		got, err := store.Get([]byte("vote"))
		t.Errorf("read %q, %v", got, err)
		store.Close()
	}
	if !errors.Is(gaveUp, durable.ErrDamaged) {
		t.Errorf("it gave up with %v", gaveUp)
	}
}

// termKey is one of the keys that Raft stores.
var termKey = []byte(raftKeys[0])

// TestAValueWithADamagedKeyIsMissed: a term that reads as none would let a node vote twice.
func TestAValueWithADamagedKeyIsMissed(t *testing.T) {
	for _, key := range raftKeys {
		dir := t.TempDir()
		store, err := openTestLog(t, dir, failOn(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range raftKeys {
			if err := store.Set([]byte(k), []byte("\x00 of "+k)); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "wal-meta.db")
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// Its value begins with a zero byte. The list of the keys is left alone.
		is := []byte(key + "\x00")
		other := bytes.Clone(is)
		other[len(key)-1] ^= 1
		changed := bytes.ReplaceAll(content, is, other)
		if bytes.Equal(content, changed) {
			t.Fatalf("%s is kept elsewhere", key)
		}
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		store, err = openTestLog(t, dir, func(error) {})
		if err == nil {
			got, err := store.Get([]byte(key))
			t.Errorf("%s reads as %q, %v", key, got, err)
			store.Close()
		} else if !errors.Is(err, durable.ErrDamaged) {
			t.Error(err)
		}
	}
}

// fillLog stores entries, each with its own sync, and returns their segment.
func fillLog(t testing.TB, dir string, count uint64) (segment string) {
	t.Helper()
	store, err := Open(testOptions(dir, 64<<10, failOn(t)))
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= count; i++ {
		if err := storeSynced(store, entryAt(i, 1, fmt.Sprintf("the payload of entry %d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	name, err := segmentOf(dir, math.MaxUint64)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// damage changes one byte of a file.
func damageFile(t *testing.T, path string, at int, change func(byte) byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] = change(b[at])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedEntryIsNeverServed(t *testing.T) {
	dir := t.TempDir()
	segment := fillLog(t, dir, 20)
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	damageFile(t, segment, bytes.Index(b, []byte("of entry 7")), func(b byte) byte { return b ^ 1 })
	var gaveUp atomic.Bool
	store, err := openTestLog(t, dir, func(err error) {
		gaveUp.Store(true)
		if !strings.Contains(err.Error(), segment) {
			t.Errorf("the reason to give up does not name %s: %v", segment, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var log raft.Log
	if err := store.GetLog(6, &log); err != nil {
		t.Errorf("the entry before: %v", err)
	}
	if err := store.GetLog(7, &log); err == nil || !gaveUp.Load() {
		t.Errorf("a damaged entry was served (%v), gave up: %v", err, gaveUp.Load())
	}
}

// FuzzSegment: what reads raft-wal's files beside it takes any bytes, and takes no more
// for a lost entry than a walk over intact commits finds.
func FuzzSegment(f *testing.F) {
	segment := fillLog(f, f.TempDir(), 3)
	b, err := os.ReadFile(segment)
	if err != nil {
		f.Fatal(err)
	}
	b = bytes.TrimRight(b, "\x00")
	f.Add(b, uint64(3))
	f.Add(b, uint64(1))
	f.Add(b[:len(b)/2], uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, last uint64) {
		if found := scanCommits(b, last); found != 0 && found <= last {
			t.Errorf("entry %d is lost behind %d", found, last)
		}
		const count = 3
		if offsets, err := entryOffsets(bytes.NewReader(b), count); err == nil && len(offsets) != 4*count {
			t.Errorf("%d bytes of offsets for %d entries", len(offsets), count)
		}
	})
}

// TestALogThatLostItsEndIsRefused damages every frame header of a log in turn.
// Where raft-wal then opens a shorter log without a word, the store does not.
func TestALogThatLostItsEndIsRefused(t *testing.T) {
	pristine := t.TempDir()
	const count = 12
	segment := fillLog(t, pristine, count)
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	var headers []int
	for at := segmentHeaderBytes; b[at] != 0; {
		headers = append(headers, at)
		if b[at] == frameCommit {
			at += frameAlign
			continue
		}
		length := int(b[at+4]) | int(b[at+5])<<8
		at += frameAlign + (length+frameAlign-1)/frameAlign*frameAlign
	}
	refused := 0
	for _, header := range headers[:len(headers)-2] { // the last commit may be torn
		for _, offset := range []int{0, 4} {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(pristine)); err != nil {
				t.Fatal(err)
			}
			damageFile(t, filepath.Join(dir, filepath.Base(segment)), header+offset, func(b byte) byte {
				if offset == 0 {
					return 0
				}
				return b ^ 0x10
			})
			var gaveUp atomic.Bool
			store, err := openTestLog(t, dir, func(error) { gaveUp.Store(true) })
			if err != nil {
				refused++
				continue
			}
			// It was opened, so it must be whole but for what a checksum tells.
			if _, last, err := logBounds(store); err != nil || last != count {
				t.Errorf("header at %d, byte %d: the log was opened with %d of %d entries (%v)", header, offset, last, count, err)
			}
			for i := uint64(1); i <= count; i++ {
				var log raft.Log
				if err := store.GetLog(i, &log); err == nil && string(log.Data) != fmt.Sprintf("the payload of entry %d", i) {
					t.Errorf("header at %d, byte %d: entry %d reads %q", header, offset, i, log.Data)
				}
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if refused == 0 {
		t.Error("no damage was noticed at open")
	}
}

func TestATornWriteIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	segment := fillLog(t, dir, 5)
	killLog(t, dir)
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndex(b, []byte("of entry 5"))
	damageFile(t, segment, last, func(b byte) byte { return b ^ 1 })
	store, err := openTestLog(t, dir, failOn(t))
	if err != nil {
		t.Fatalf("a log whose last write was torn does not open: %v", err)
	}
	defer store.Close()
	if _, end, err := logBounds(store); err != nil || end != 4 {
		t.Errorf("the log ends at %d, want 4 (%v)", end, err)
	}
}

// killLog leaves a log as a process does that was killed.
func killLog(t *testing.T, dir string) {
	t.Helper()
	store, err := openTestLog(t, dir, failOn(t))
	if err != nil {
		t.Fatal(err)
	}
	store.dog.Close()
	if err := errors.Join(store.wal.Close(), store.meta.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestAShortenedLogIsRefused cuts the newest segment of a log at each place, removes it,
// and wipes what a closed log held at its end. A log that was cut may end in the middle
// of what was acknowledged, without a trace in what is left.
func TestAShortenedLogIsRefused(t *testing.T) {
	for _, killed := range []bool{false, true} {
		pristine := t.TempDir()
		segment := filepath.Base(fillLog(t, pristine, 12))
		if killed {
			killLog(t, pristine)
		}
		content, err := os.ReadFile(filepath.Join(pristine, segment))
		if err != nil {
			t.Fatal(err)
		}
		used := len(bytes.TrimRight(content, "\x00"))
		refused := func(name string, harm func(path string) error) {
			t.Helper()
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(pristine)); err != nil {
				t.Fatal(err)
			}
			if err := harm(filepath.Join(dir, segment)); err != nil {
				t.Fatal(err)
			}
			store, err := openTestLog(t, dir, failOn(t))
			if err == nil {
				_, last, _ := logBounds(store)
				t.Fatalf("%s, killed: %v: the log opens and ends at %d", name, killed, last)
			}
		}
		refused("removed", os.Remove)
		for size := 0; size < used+64; size += 7 {
			refused(fmt.Sprintf("cut at %d", size), func(path string) error { return os.Truncate(path, int64(size)) })
		}
		if !killed {
			refused("wiped", func(path string) error {
				return os.WriteFile(path, append(bytes.Clone(content[:used/2]), make([]byte, len(content)-used/2)...), 0o600)
			})
		}
	}
}

// logBounds returns the first and the last index.
func logBounds(log raft.LogStore) (first, last uint64, err error) {
	if first, err = log.FirstIndex(); err == nil {
		last, err = log.LastIndex()
	}
	return first, last, err
}

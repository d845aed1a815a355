package raftlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"
	"pgregory.net/rapid"
)

// slowDisk is a log's disk whose syncs wait until they may go on.
type slowDisk struct {
	types.VFS
	mu    sync.Mutex
	slow  bool
	syncs chan chan error // the waiting ones, which end with the error that they are sent
}

func newSlowDisk() *slowDisk { return &slowDisk{VFS: walfs.New(), syncs: make(chan chan error)} }

func (d *slowDisk) setSlow(slow bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = slow
}

func (d *slowDisk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := d.VFS.Create(dir, name, size)
	return slowFile{f, d}, err
}

func (d *slowDisk) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := d.VFS.OpenWriter(dir, name)
	return slowFile{f, d}, err
}

type slowFile struct {
	types.WritableFile
	disk *slowDisk
}

func (f slowFile) Sync() error {
	f.disk.mu.Lock()
	slow := f.disk.slow
	f.disk.mu.Unlock()
	if slow {
		ends := make(chan error)
		f.disk.syncs <- ends
		if err := <-ends; err != nil {
			return err
		}
	}
	return f.WritableFile.Sync()
}

func openSlowLog(t *testing.T, fatal func(error)) (*Store, *slowDisk) {
	t.Helper()
	disk := newSlowDisk()
	store, err := openOn(testOptions(t.TempDir(), 64<<10, fatal), disk, &metadb.BoltMetaDB{})
	if err != nil {
		t.Fatal(err)
	}
	disk.setSlow(true)
	return store, disk
}

// soon returns whether a channel is closed in a while, which is long where it should be.
func soon(done <-chan struct{}, patience time.Duration) bool {
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
}

const (
	patience = 20 * time.Second
	aWhile   = 20 * time.Millisecond
)

func begin(run func() error) (done <-chan struct{}, result *error) {
	ended := make(chan struct{})
	result = new(error)
	go func() {
		defer close(ended)
		*result = run()
	}()
	return ended, result
}

// TestCommandsAreReadableBeforeTheyAreSynced, and nothing says that they are stored.
func TestCommandsAreReadableBeforeTheyAreSynced(t *testing.T) {
	store, disk := openSlowLog(t, failOn(t))
	for i := uint64(1); i <= 3; i++ {
		if err := store.StoreLog(entryAt(i, 1, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	first, last, err := logBounds(store)
	var log raft.Log
	if err := errors.Join(err, store.GetLog(3, &log)); err != nil || first != 1 || last != 3 || string(log.Data) != "3" {
		t.Errorf("the log is %d to %d, entry 3 is %q (%v)", first, last, log.Data, err)
	}
	if bound := store.Bound(3); bound != 0 {
		t.Errorf("it is synced up to %d", bound)
	}
	ends := <-disk.syncs // of entry 1 and whatever was there by then
	awaited, result := begin(func() error { return store.AwaitSynced(3) })
	if soon(awaited, aWhile) {
		t.Error("entry 3 counts as synced")
	}
	ends <- nil
	disk.setSlow(false)
	select {
	case ends := <-disk.syncs:
		ends <- nil
	case <-awaited:
	}
	if !soon(awaited, patience) || *result != nil || store.Bound(3) != 3 {
		t.Errorf("after the syncs it is synced up to %d (%v)", store.Bound(3), *result)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWhatComesDuringASyncIsWrittenAtOnce: the next sync is of all that waits.
func TestWhatComesDuringASyncIsWrittenAtOnce(t *testing.T) {
	var writes []int
	disk := newSlowDisk()
	options := testOptions(t.TempDir(), 64<<10, failOn(t))
	options.Synced = func(_ time.Duration, entries int) { writes = append(writes, entries) }
	store, err := openOn(options, disk, &metadb.BoltMetaDB{})
	if err != nil {
		t.Fatal(err)
	}
	disk.setSlow(true)
	if err := store.StoreLog(entryAt(1, 1, "")); err != nil {
		t.Fatal(err)
	}
	ends := <-disk.syncs
	for i := uint64(2); i <= 9; i++ {
		if err := store.StoreLog(entryAt(i, 1, "")); err != nil {
			t.Fatal(err)
		}
	}
	disk.setSlow(false)
	ends <- nil
	if err := errors.Join(store.AwaitSynced(9), store.Close()); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(writes) != "[1 8]" {
		t.Errorf("entries were written %v at a time", writes)
	}
}

// TestWhatMustWaitForTheLog does: what changes Raft itself, terms and votes, truncation.
func TestWhatMustWaitForTheLog(t *testing.T) {
	for name, run := range map[string]func(*Store) error{
		"configuration": func(s *Store) error {
			return s.StoreLog(&raft.Log{Index: 2, Term: 1, Type: raft.LogConfiguration})
		},
		"first entry of a term": func(s *Store) error {
			return s.StoreLog(&raft.Log{Index: 2, Term: 1, Type: raft.LogNoop})
		},
		"term":       func(s *Store) error { return s.SetUint64(termKey, 2) },
		"vote":       func(s *Store) error { return s.Set([]byte("LastVoteCand"), []byte("somebody")) },
		"truncation": func(s *Store) error { return s.DeleteRange(1, 1) },
		"too much":   func(s *Store) error { return s.StoreLog(entryAt(2, 1, string(make([]byte, unsyncedBytes)))) },
	} {
		t.Run(name, func(t *testing.T) {
			store, disk := openSlowLog(t, failOn(t))
			if err := store.StoreLog(entryAt(1, 1, "unsynced")); err != nil {
				t.Fatal(err)
			}
			ends := <-disk.syncs
			ended, result := begin(func() error { return run(store) })
			if soon(ended, aWhile) {
				t.Errorf("it did not wait (%v)", *result)
			}
			disk.setSlow(false)
			ends <- nil
			if !soon(ended, patience) || *result != nil {
				t.Errorf("it ended with %v", *result)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestAVoteWaitsOnlyForWhatCameBefore: more may come all the while, since Raft learns of a
// later term on another goroutine than the one that appends.
func TestAVoteWaitsOnlyForWhatCameBefore(t *testing.T) {
	store, disk := openSlowLog(t, failOn(t))
	next := uint64(1)
	take := func() {
		t.Helper()
		if err := store.StoreLog(entryAt(next, 1, "")); err != nil {
			t.Fatal(err)
		}
		next++
	}
	take()
	ends := <-disk.syncs
	voted, vote := begin(func() error { return store.SetUint64(termKey, 2) })
	for deadline := time.Now().Add(patience); !soon(voted, time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatal("the vote waits until nothing is unsynced any more")
		}
		take() // so that there is always something
		ends <- nil
		ends = <-disk.syncs
	}
	disk.setSlow(false)
	ends <- nil
	if err := errors.Join(*vote, store.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestAFailedSyncEndsTheWaits, all of them, and nothing counts as stored.
func TestAFailedSyncEndsTheWaits(t *testing.T) {
	gaveUp := make(chan error, 9)
	store, disk := openSlowLog(t, func(err error) { gaveUp <- err })
	if err := store.StoreLog(entryAt(1, 1, "unsynced")); err != nil {
		t.Fatal(err)
	}
	ends := <-disk.syncs
	awaited, await := begin(func() error { return store.AwaitSynced(1) })
	voted, vote := begin(func() error { return store.SetUint64(termKey, 2) })
	ends <- syscall.EIO
	if err := <-gaveUp; !errors.Is(err, syscall.EIO) {
		t.Errorf("it gave up for %v", err)
	}
	if !soon(awaited, patience) || !errors.Is(*await, syscall.EIO) {
		t.Errorf("the wait for the sync ended with %v", *await)
	}
	if !soon(voted, patience) || !errors.Is(*vote, syscall.EIO) {
		t.Errorf("the vote ended with %v", *vote)
	}
	if bound := store.Bound(1); bound != 0 {
		t.Errorf("it is synced up to %d", bound)
	}
	if err := store.StoreLog(entryAt(2, 1, "")); !errors.Is(err, syscall.EIO) {
		t.Errorf("an append after that ended with %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAHangingSyncIsReported, one that is only slow is not, however many there are.
func TestAHangingSyncIsReported(t *testing.T) {
	gaveUp := make(chan error, 9)
	disk := newSlowDisk()
	options := testOptions(t.TempDir(), 1<<10, func(err error) { gaveUp <- err })
	options.WriteStall = time.Second
	store, err := openOn(options, disk, &metadb.BoltMetaDB{})
	if err != nil {
		t.Fatal(err)
	}
	disk.setSlow(true)
	stored, _ := begin(func() error {
		for i := uint64(1); i <= 15; i++ { // several segments
			if err := storeSynced(store, entryAt(i, 1, string(make([]byte, 200)))); err != nil {
				return err
			}
		}
		return nil
	})
	for !soon(stored, 0) {
		select {
		case ends := <-disk.syncs:
			time.Sleep(options.WriteStall / 10) // how slow the disk is; a dozen of them are too long
			ends <- nil
		case <-stored:
		}
	}
	if len(gaveUp) > 0 {
		t.Fatalf("a slow disk is taken for one that hangs: %v", <-gaveUp)
	}
	if err := store.StoreLog(entryAt(16, 1, "")); err != nil {
		t.Fatal(err)
	}
	ends := <-disk.syncs
	select {
	case <-gaveUp:
	case <-time.After(patience):
		t.Error("nobody is told that the disk hangs")
	}
	disk.setSlow(false)
	ends <- nil
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestACrashTakesOnlyWhatWasNotPromised runs random appends, truncations and votes with the
// process ending at a random sync. What was waited for is there afterwards.
func TestACrashTakesOnlyWhatWasNotPromised(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var runs atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		disk := newBrokenDisk(filepath.Join(root, fmt.Sprint(runs.Add(1))),
			rapid.IntRange(30, 90).Draw(rt, "fails at call"), false)
		life := &logLife{disk: disk, gaveUp: make(chan error, 99), first: 1, next: 1, data: make(map[uint64]string)}
		if err := life.open(); err != nil {
			rt.Skip("it failed before it was open")
		}
		alive := true
		for alive {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				alive = life.newTerm() == nil
			case 1:
				if end := life.next - 1; end > life.first {
					from := rapid.Uint64Range(life.first+1, end).Draw(rt, "from")
					life.last, life.next = min(life.last, from-1), from
					alive = life.store.DeleteRange(from, end) == nil
				}
			case 2:
				if upTo := life.next - 1; upTo >= life.first {
					if alive = life.store.AwaitSynced(upTo) == nil; alive {
						life.last = upTo
					}
				}
			default:
				if alive = life.take(rapid.IntRange(1, 4).Draw(rt, "count")) == nil; alive {
					life.last = max(life.last, life.store.Bound(life.next-1))
				}
			}
		}
		if err := life.store.Close(); err != nil {
			rt.Fatal(err)
		}
		disk.mend()
		if err := life.open(); err != nil {
			rt.Fatalf("open again: %v", err)
		}
		life.verify(rt)
		if err := life.store.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

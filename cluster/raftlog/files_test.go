package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
	"pgregory.net/rapid"
)

// brokenDisk is a log's disk of which one call fails. Like a real one it forgets
// what a failed sync should have stored, and goes on showing it.
type brokenDisk struct {
	types.VFS
	dir string

	mu     sync.Mutex
	calls  int
	fail   int // the call that fails, from 1; 0: none does
	late   bool
	what   string // the call that failed
	state  [2]types.PersistentState
	stable [2]map[string][]byte
	files  map[string]*diskRanges
}

// What is shown, and what a power cut would leave.
const (
	shown = iota
	stored
)

// diskRanges are parts of a file as offsets of its bytes.
type diskRanges struct{ waiting, forgotten map[int64]bool }

func newBrokenDisk(dir string, fail int, late bool) *brokenDisk {
	d := &brokenDisk{VFS: walfs.New(), dir: dir, fail: fail, late: late, files: make(map[string]*diskRanges)}
	d.stable = [2]map[string][]byte{{}, {}}
	return d
}

// call counts a call and says whether it fails, and whether it takes effect.
func (d *brokenDisk) call(what string) (happens bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.calls != d.fail {
		return true, nil
	}
	d.what = what
	return d.late, fmt.Errorf("%s: %w", what, syscall.EIO)
}

func (d *brokenDisk) mend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = 0
}

func (d *brokenDisk) failedCall() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.what
}

// forgotten names what is shown but would not survive a power cut.
func (d *brokenDisk) forgotten() (what []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, r := range d.files {
		if _, err := os.Stat(filepath.Join(d.dir, name)); err == nil && len(r.waiting)+len(r.forgotten) > 0 {
			what = append(what, fmt.Sprintf("%d bytes of %s", len(r.waiting)+len(r.forgotten), name))
		}
	}
	if fmt.Sprint(d.state[shown]) != fmt.Sprint(d.state[stored]) {
		what = append(what, "segments")
	}
	if fmt.Sprint(d.stable[shown]) != fmt.Sprint(d.stable[stored]) {
		what = append(what, "votes")
	}
	return what
}

func (d *brokenDisk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	happens, err := d.call("create")
	if !happens {
		return nil, err
	}
	f, err2 := d.VFS.Create(dir, name, size)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d.file(f, name), err2
}

func (d *brokenDisk) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := d.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return d.file(f, name), nil
}

func (d *brokenDisk) file(f types.WritableFile, name string) types.WritableFile {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] == nil {
		d.files[name] = &diskRanges{make(map[int64]bool), make(map[int64]bool)}
	}
	return &brokenFile{f, d, d.files[name]}
}

func (d *brokenDisk) Delete(dir, name string) error {
	happens, err := d.call("delete")
	if !happens {
		return err
	}
	return errors.Join(err, os.Remove(filepath.Join(dir, name)))
}

type brokenFile struct {
	types.WritableFile
	disk   *brokenDisk
	ranges *diskRanges
}

// WriteAt writes all but the commit frame when it fails late.
func (f *brokenFile) WriteAt(b []byte, at int64) (int, error) {
	happens, err := f.disk.call("write")
	if err != nil {
		b = b[:len(b)-frameAlign]
	}
	if !happens {
		return 0, err
	}
	n, err2 := f.WritableFile.WriteAt(b, at)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	for i := at; i < at+int64(n); i++ {
		f.ranges.waiting[i] = true
		delete(f.ranges.forgotten, i)
	}
	return n, errors.Join(err, err2)
}

func (f *brokenFile) Sync() error {
	_, err := f.disk.call("sync")
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err != nil {
		for i := range f.ranges.waiting {
			f.ranges.forgotten[i] = true
		}
	}
	clear(f.ranges.waiting)
	return err
}

// brokenMeta is the store for segments and votes on a brokenDisk.
type brokenMeta struct{ *brokenDisk }

func (m brokenMeta) Load(string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.state[shown]
	state.Segments = slices.Clone(state.Segments)
	return state, nil
}

func (m brokenMeta) CommitState(state types.PersistentState) error {
	happens, err := m.call("commit segments")
	m.mu.Lock()
	defer m.mu.Unlock()
	if happens {
		m.state[shown] = state
	}
	if err == nil {
		m.state[stored] = state
	}
	return err
}

func (m brokenMeta) GetStable(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stable[shown][string(key)], nil
}

func (m brokenMeta) SetStable(key, value []byte) error {
	happens, err := m.call("store vote")
	m.mu.Lock()
	defer m.mu.Unlock()
	if happens {
		m.stable[shown][string(key)] = value
	}
	if err == nil {
		m.stable[stored][string(key)] = value
	}
	return err
}

func (m brokenMeta) Close() error { return nil }

// logLife is what a log went through, and what it must have kept.
type logLife struct {
	disk        *brokenDisk
	store       *Store
	gaveUp      chan error
	first, last uint64 // what was acknowledged and not deleted
	next        uint64
	data        map[uint64]string
	term        uint64
}

func (l *logLife) open() error {
	options := testOptions(l.disk.dir, 2<<10, func(err error) { l.gaveUp <- err })
	options.CacheBytes = 1
	store, err := openOn(options, l.disk, brokenMeta{l.disk})
	l.store = store
	return err
}

func (l *logLife) append(count int) error {
	if err := l.take(count); err != nil {
		return err
	}
	if err := l.store.AwaitSynced(l.next - 1); err != nil {
		return err
	}
	l.last = l.next - 1
	return nil
}

// take appends without waiting for the disk.
func (l *logLife) take(count int) error {
	var logs []*raft.Log
	for range count {
		l.data[l.next] = fmt.Sprintf("entry %d of term %d %s", l.next, l.term, strings.Repeat("x", int(l.next%7)*30))
		logs = append(logs, entryAt(l.next, l.term, l.data[l.next]))
		l.next++
	}
	return l.store.StoreLogs(logs)
}

func (l *logLife) newTerm() error {
	if err := l.store.SetUint64(termKey, l.term+1); err != nil {
		return err
	}
	l.term++
	return nil
}

func (l *logLife) dropEnd(from uint64) error {
	end := l.last
	l.last, l.next = from-1, from
	return l.store.DeleteRange(from, end)
}

func (l *logLife) dropFront(to uint64) error {
	l.first = to + 1
	return l.store.DeleteRange(1, to)
}

// live does everything that changes a log, until something fails.
func (l *logLife) live() error {
	steps := []func() error{l.open, l.newTerm}
	for i := range 24 {
		steps = append(steps, func() error { return l.append(1 + i%4) })
	}
	steps = append(steps,
		func() error { return l.dropEnd(l.last - 3) },
		l.newTerm,
		func() error { return l.append(3) },
		func() error { return l.dropEnd(l.last - 20) },
		func() error { return l.append(5) },
		func() error { return l.dropFront(l.last - 10) })
	for range 12 {
		steps = append(steps, func() error { return l.append(2) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// verify reads everything that must be there.
func (l *logLife) verify(t rapid.TB) {
	t.Helper()
	first, last, err := logBounds(l.store)
	if err != nil || l.last >= l.first && (first > l.first || last < l.last) {
		t.Fatalf("the log is %d to %d, want %d to %d (%v)", first, last, l.first, l.last, err)
	}
	for index := l.first; index <= l.last; index++ {
		var log raft.Log
		if err := l.store.GetLog(index, &log); err != nil || string(log.Data) != l.data[index] {
			t.Fatalf("entry %d is %q, want %q (%v)", index, log.Data, l.data[index], err)
		}
	}
	if term, err := l.store.GetUint64(termKey); err != nil || term < l.term {
		t.Fatalf("the term is %d, want %d (%v)", term, l.term, err)
	}
	if lost := l.disk.forgotten(); len(lost) > 0 {
		t.Fatalf("a power cut would take %v", lost)
	}
}

// goOn goes on from where the log ends, which may be behind what was acknowledged.
func (l *logLife) goOn(t *testing.T) {
	t.Helper()
	_, last, err := logBounds(l.store)
	if err != nil {
		t.Fatal(err)
	}
	for index := l.last + 1; index <= last; index++ {
		var log raft.Log
		if err := l.store.GetLog(index, &log); err != nil {
			t.Fatalf("entry %d: %v", index, err)
		}
		l.data[index] = string(log.Data)
	}
	l.next = max(last, l.first-1) + 1
}

// TestOneErrorOfTheDiskStopsTheLog lets each call of a log's life fail in turn, with
// and without an effect. The log must give up at once for that reason, and when it is
// opened again everything acknowledged must be there, durably, and more be taken.
func TestOneErrorOfTheDiskStopsTheLog(t *testing.T) {
	t.Parallel()
	seen := make(map[string]int)
	for _, late := range []bool{false, true} {
		for fail := 1; ; fail++ {
			life := &logLife{
				disk: newBrokenDisk(t.TempDir(), fail, late), gaveUp: make(chan error, 9),
				first: 1, next: 1, data: make(map[uint64]string),
			}
			err := life.live()
			what := life.disk.failedCall()
			if what == "" {
				if err != nil {
					t.Fatalf("without a failing call: %v", err)
				}
				err := life.store.Close()
				if life.disk.failedCall() != "" {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			seen[what]++
			t.Run(fmt.Sprintf("%s,call=%d,late=%v", what, fail, late), func(t *testing.T) {
				select {
				case reason := <-life.gaveUp:
					if !errors.Is(reason, syscall.EIO) {
						t.Errorf("the reason to give up is %v", reason)
					}
				case <-time.After(time.Minute):
					t.Fatalf("it did not give up (%v)", err)
				}
				if life.store != nil {
					if err := storeSynced(life.store, entryAt(life.next, 9, "late")); !errors.Is(err, syscall.EIO) {
						t.Errorf("after that an append ended with %v", err)
					}
					if err := life.store.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if len(life.gaveUp) > 0 {
					t.Errorf("it gave up once more: %v", <-life.gaveUp)
				}
				life.disk.mend()
				for range 2 {
					if err := life.open(); err != nil {
						t.Fatalf("open again: %v", err)
					}
					life.verify(t)
					life.goOn(t)
					for range 6 {
						if err := life.append(4); err != nil {
							t.Fatalf("append: %v", err)
						}
					}
					if err := life.store.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if len(life.gaveUp) > 0 {
					t.Errorf("after it was opened again it gave up: %v", <-life.gaveUp)
				}
			})
		}
	}
	for _, what := range []string{"create", "write", "sync", "delete", "commit segments", "store vote"} {
		if seen[what] == 0 {
			t.Errorf("no %s failed", what)
		}
	}
}

// TestALogStopsForWhatFailsInTheBackground seals a segment and appends no more.
func TestALogStopsForWhatFailsInTheBackground(t *testing.T) {
	t.Parallel()
	life := &logLife{
		disk: newBrokenDisk(t.TempDir(), 0, false), gaveUp: make(chan error, 9),
		first: 1, next: 1, data: make(map[uint64]string),
	}
	if err := life.open(); err != nil {
		t.Fatal(err)
	}
	life.disk.mu.Lock()
	life.disk.fail = life.disk.calls + 3 // after the write and the sync of one append
	life.disk.mu.Unlock()
	if err := life.append(30); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-life.gaveUp:
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("it gave up for %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("nobody was told")
	}
	if err := life.store.Close(); err != nil {
		t.Fatal(err)
	}
}

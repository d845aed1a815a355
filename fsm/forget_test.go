package fsm

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/internal/wire"
)

func forget(names ...string) []byte {
	return ForgetChannels{Project: projectID, Names: names}.Encode()
}

func (m *machine) channelNames() []string {
	m.t.Helper()
	list, err := m.Channels(projectID, "", math.MaxInt)
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, info := range list {
		names = append(names, info.Name)
	}
	return names
}

func TestFirstOffsetHoldsForChannelsMadeFromThenOn(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	m.publish(1, news, "old")
	raise := func(first uint64) []byte { return UpdateProject{ID: projectID, FirstOffset: &first}.Encode() }
	m.must(raise(1000))
	if got := m.publish(1, news, "old"); got[0].Offset != 2 {
		t.Errorf("a channel that was there goes on at %d", got[0].Offset)
	}
	later := ChannelKey{projectID, "later"}
	if got := m.info(later); got.Head != 999 || got.Earliest != 1000 {
		t.Errorf("before its first message: %+v", got)
	}
	if got := m.publish(1, later, "a", "b"); got[0].Offset != 1000 || got[1].Offset != 1001 {
		t.Errorf("its messages have %+v", got)
	}
	if got := m.read(later, 0); got != "a b" {
		t.Errorf("read %q", got)
	}
	m.refused(ErrConflict, raise(999))
	m.refused(ErrInvalid, raise(MaxFirstOffset+1))
	m.must(raise(1000))
	m.flushed()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if got := m.publish(1, ChannelKey{projectID, "latest"}, "a"); got[0].Offset != 1000 {
		t.Errorf("after opening again %+v", got)
	}
	if got := m.read(later, 1000); got != "b" {
		t.Errorf("read %q", got)
	}
	if p, _ := m.Project(projectID); p.FirstOffset != 1000 {
		t.Errorf("the project says %d", p.FirstOffset)
	}
}

// Forgotten channels are gone from everywhere, and whatever comes after them lies
// above what they had: at every moment between a publish and the disk.
func TestForgottenChannelBeginsAboveItsOldHead(t *testing.T) {
	moments := map[string]func(m *machine){
		"in memory": func(*machine) {},
		"flushed":   func(m *machine) { m.flushed() },
		"evicted":   func(m *machine) { m.flushed(); m.evictAll() },
	}
	for before, first := range moments {
		for after, second := range moments {
			t.Run(before+", "+after, func(t *testing.T) {
				dir := t.TempDir()
				m := openMachine(t, dir, lazy)
				m.createProject()
				m.publish(1, news, "1", "2", long, "4")
				m.publish(1, ChannelKey{projectID, "another"}, "1")
				first(m)
				m.must(forget("news"))
				second(m)
				if got := m.channelNames(); !slices.Equal(got, []string{"another"}) {
					t.Errorf("channels are %q", got)
				}
				if got := m.info(news); got.Head != 4 || got.Earliest != 5 || got.Bytes != 0 {
					t.Errorf("it is %+v", got)
				}
				if got := m.read(news, 0); got != "" {
					t.Errorf("read %q", got)
				}
				m.refused(ErrNotFound, forget("news"))
				m.refused(ErrNotFound, PurgeChannel{Channel: news}.Encode())
				if got := m.publish(1, news, "5", long); got[0].Offset != 5 {
					t.Errorf("it goes on at %d", got[0].Offset)
				}
				second(m)
				if got := m.read(news, 0); got != "5 "+long {
					t.Errorf("read %d bytes", len(got))
				}
				if got := m.channelNames(); !slices.Equal(got, []string{"another", "news"}) {
					t.Errorf("channels are %q", got)
				}
				if got := m.publish(1, ChannelKey{projectID, "third"}, "a"); got[0].Offset != 5 {
					t.Errorf("a new one begins at %d", got[0].Offset)
				}
				m.flushed()
				sum := m.hash()
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
				m = openMachine(t, dir, lazy)
				if m.hash() != sum {
					t.Error("another state after opening again")
				}
				if got := m.read(news, 4); got != "5 "+long {
					t.Errorf("read %d bytes", len(got))
				}
			})
		}
	}
}

// A flush that has no time for all chunks leaves the tombstone to the sweep.
func TestSweepBuriesForgottenChannels(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	for i := range 30 {
		m.publish(1, ChannelKey{projectID, fmt.Sprint("c", i)}, "1", long)
	}
	m.flushed()
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprint("c", i))
	}
	m.must(forget(names...))
	defer func(old time.Duration) { trimTime = old }(trimTime)
	trimTime = -time.Second
	m.flushed()
	entries := func() int {
		_, channels := m.blockSizes()
		n := 0
		for _, of := range channels {
			n += of
		}
		return n
	}
	if got := entries(); got != 30 {
		t.Fatalf("%d channels are on the disk, not one of them is due", got)
	}
	if got := len(m.channelNames()); got != 10 {
		t.Errorf("%d channels are listed", got)
	}
	m.evictAll()
	if got := m.info(ChannelKey{projectID, "c3"}); got.Head != 2 || got.Earliest != 3 {
		t.Errorf("with a tombstone on the disk: %+v", got)
	}
	if summary, err := CheckBackup(m.saveBackup()); err != nil || summary.Channels != 10 {
		t.Errorf("a backup has %d channels, %v", summary.Channels, err)
	}
	for i := 0; m.chunks() > 10 || entries() > 10; i++ {
		if i == 100 {
			t.Fatalf("%d chunks and %d channels are left", m.chunks(), entries())
		}
		m.tick(sweepPause)
		m.flushed()
	}
	if got := len(m.channelNames()); got != 10 {
		t.Errorf("%d channels are listed after the sweep", got)
	}
}

// A flush may come before the observer has heard of what came after.
func TestFlushBeforeTheObserverHears(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy, (&told{}).observe)
	m.createProject()
	m.publish(1, news, "1", "2")
	m.flushed()
	m.index++
	m.BeginEntry(m.index, 1, m.stamp)
	m.seq++
	m.ApplyBatch(m.session, m.seq, m.seq-1, [][]byte{forget("news"), Publish{Channel: news, Data: []byte("3")}.Encode()})
	done := make(chan struct{})
	go func() {
		m.flush()
		close(done)
	}()
	for flushed := false; !flushed; {
		m.index++
		m.BeginEntry(m.index, 1, m.stamp)
		select {
		case <-done:
			flushed = true
		case <-time.After(time.Millisecond):
		}
	}
	m.Notify()
	m.flushed()
	m.evictAll()
	if got := m.read(news, 0); got != "3" {
		t.Errorf("read %q", got)
	}
	if got := m.info(news); got.Head != 3 || got.Earliest != 3 {
		t.Errorf("it is %+v", got)
	}
	if summary, err := CheckBackup(m.saveBackup()); err != nil || summary.Messages != 1 {
		t.Errorf("%d messages are stored, %v", summary.Messages, err)
	}
}

func TestForgettingGivesQuotaBack(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	m.must(UpdateProject{ID: projectID, Quotas: &Quotas{Channels: 2}}.Encode())
	m.publish(1, ChannelKey{projectID, "a"}, "1")
	m.publish(1, ChannelKey{projectID, "b"}, "1", "2", "3")
	third := Publish{Channel: ChannelKey{projectID, "c"}, Data: []byte("1")}.Encode()
	if _, err := DecodeReceipt(m.entry(1, third)[0]); !errors.Is(err, ErrRateLimited) {
		t.Fatalf("a third channel: %v", err)
	}
	m.must(forget("b", "never", "a"))
	for _, name := range []string{"c", "b"} {
		if got := m.publish(1, ChannelKey{projectID, name}, "1"); got[0].Offset != 4 {
			t.Errorf("%s begins at %d", name, got[0].Offset)
		}
	}
	if _, err := DecodeReceipt(m.entry(1,
		Publish{Channel: ChannelKey{projectID, "d"}, Data: []byte("1")}.Encode())[0]); !errors.Is(err, ErrRateLimited) {
		t.Errorf("a third channel again: %v", err)
	}
	m.refused(ErrInvalid, forget())
	m.refused(ErrInvalid, forget(make([]string, MaxForget+1)...))
	m.refused(ErrInvalid, forget("c", ""))
	m.refused(ErrNotFound, ForgetChannels{Project: "p9", Names: []string{"c"}}.Encode())
}

// What an older version wrote can be read, and what does not use what is new can be
// read by one.
func TestProjectAndKeyRecordsOfLevel1(t *testing.T) {
	p := &project{sample, 3, nil}
	old := append(appendProject(nil, &sample), 3, 0)
	if got := p.append(nil); string(got) != string(old) {
		t.Errorf("a project is\n% x, was\n% x", got, old)
	}
	d := decoder{wire.Reader{Rest: old}}
	if got := d.storedProject(); d.Finish() != nil || got.FirstOffset != 0 || got.newHead().floor != 1 {
		t.Errorf("read %+v, %v", got, d.Finish())
	}
	d = decoder{wire.Reader{Rest: appendKey(nil, &sampleKey)}}
	if got := d.storedKey(); d.Finish() != nil || got.Imported {
		t.Errorf("read %+v, %v", got, d.Finish())
	}
	imported := sampleKey
	imported.Imported = true
	d = decoder{wire.Reader{Rest: appendStoredKey(nil, &imported)}}
	if got := d.storedKey(); d.Finish() != nil || !got.Imported {
		t.Errorf("read %+v, %v", got, d.Finish())
	}
}

// Whoever has an offset of a channel that was made after the backup finds what is new
// above it.
func TestRebasedProjectRaisesItsFirstOffset(t *testing.T) {
	from := eventful(t)
	from.must(forget("few"))
	dir := t.TempDir()
	if _, err := RebaseBackup(from.saveBackup(), dir, next); err != nil {
		t.Fatal(err)
	}
	to := openMachine(t, dir)
	if got := to.publish(1, ChannelKey{projectID, "new"}, "1"); got[0].Offset != 302+OffsetJump {
		t.Errorf("a new channel begins at %d", got[0].Offset)
	}
	if got := to.channelNames(); !slices.Equal(got, []string{"new", "news"}) {
		t.Errorf("channels are %q", got)
	}
}

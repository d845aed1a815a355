package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

func withID(channel ChannelKey, id, data string) []byte {
	return Publish{Channel: channel, ID: id, Data: []byte(data)}.Encode()
}

// publishID publishes one message with an id.
func (m *machine) publishID(ms int64, channel ChannelKey, id string) Receipt {
	m.t.Helper()
	r, err := DecodeReceipt(m.entry(ms, withID(channel, id, "1"))[0])
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

func TestRepeatedIDAnswersAsTheFirstTime(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	first := m.publishID(1, news, "a")
	if first.Duplicate || first.Offset != 1 {
		t.Fatalf("first time: %+v", first)
	}
	want := first
	want.Duplicate = true
	if got := m.publishID(1, news, "a"); got != want {
		t.Errorf("second time %+v, want %+v", got, want)
	}
	if got := m.publishID(1, ChannelKey{projectID, "other"}, "a"); got.Duplicate {
		t.Error("an id of another channel counts as a duplicate")
	}
	if got := m.publishID(1, news, ""); got.Duplicate || got.Offset != 2 {
		t.Errorf("without id: %+v", got)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if got := m.publishID(1, news, "a"); got != want {
		t.Errorf("after opening again %+v, want %+v", got, want)
	}
}

// A publish that is still being repeated must not bring back what a purge took away.
func TestIDsOutliveAPurge(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	want := m.publishID(1, news, "a")
	want.Duplicate = true
	m.must(PurgeChannel{Channel: news}.Encode())
	if got := m.publishID(1, news, "a"); got != want {
		t.Errorf("after the purge %+v, want %+v", got, want)
	}
	if info := m.info(news); info.Head != 1 || info.Earliest != 2 {
		t.Errorf("the purged message is back: %+v", info)
	}
	if got := m.publishID(1, news, "b"); got.Duplicate || got.Offset != 2 {
		t.Errorf("another id: %+v", got)
	}
}

func TestIDsExpireToTheMillisecond(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	m.publishID(1, news, "a")
	m.publishID(1, news, "b")
	if got := m.publishID(idWindow-2, news, "a"); !got.Duplicate {
		t.Error("the id was forgotten 1 ms early")
	}
	if got := m.publishID(1, news, "a"); got.Duplicate || got.Offset != 3 {
		t.Errorf("the id was not forgotten: %+v", got)
	}
	if got := m.publishID(0, news, "b"); !got.Duplicate {
		t.Error("the second id was forgotten with the first")
	}
}

func TestStoredIDsAreDeletedOnceExpired(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	for i := range 3 {
		m.publishID(1, news, fmt.Sprint(i))
		m.flushed()
	}
	records := func() (first uint64, n int) {
		tx, err := m.db.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		defer rollback(tx)
		c := tx.Bucket(bucketIDs).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if n == 0 {
				first = binary.BigEndian.Uint64(k)
			}
			n++
		}
		return first, n
	}
	if first, n := records(); first != 0 || n != 3 {
		t.Fatalf("%d records from %d", n, first)
	}
	m.tick(idWindow - 1)
	m.flushed()
	if first, n := records(); first != 2 || n != 1 {
		t.Fatalf("%d records from %d, want the one at 2", n, first)
	}
	m.tick(1)
	m.flushed()
	if _, n := records(); n != 0 {
		t.Fatalf("%d records are left", n)
	}
	m.publishID(1, news, "x")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if got := m.publishID(1, news, "x"); !got.Duplicate {
		t.Error("an id after the gap was lost")
	}
}

// A record of ids is stored for as long as one of them is remembered, so it may hold
// an expired id that has been used again since.
func TestIDThatIsUsedAgainSurvivesItsFirstUse(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	m.publishID(1, news, "again")
	m.publishID(idWindow/2, news, "other")
	m.flushed()
	second := m.publishID(idWindow/2, news, "again")
	if second.Duplicate {
		t.Fatal("the id was not forgotten")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if got := m.publishID(1, news, "again"); !got.Duplicate || got.Offset != second.Offset {
		t.Errorf("after opening again: %+v, want a duplicate of %+v", got, second)
	}
}

func TestFullTableRefusesNewIDs(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	m.publishID(1, news, "kept")
	m.mu.Lock()
	for i := len(m.ids.queue); i < maxIDs; i++ {
		var h idHash
		binary.BigEndian.PutUint64(h[:], uint64(i))
		m.ids.add(seenID{h, 1, m.stamp, 0})
	}
	m.mu.Unlock()
	_, err := DecodeReceipt(m.entry(1, withID(news, "new", "1"))[0])
	if !errors.Is(err, ErrRateLimited) {
		t.Errorf("a new id got %v", err)
	}
	if got := m.publishID(0, news, "kept"); !got.Duplicate {
		t.Error("a known id was forgotten")
	}
	if got := m.publishID(0, news, ""); got.Offset != 2 {
		t.Errorf("without an id: %+v", got)
	}
	if got := m.publishID(idWindow, news, "new"); got.Duplicate {
		t.Errorf("with room again: %+v", got)
	}
}

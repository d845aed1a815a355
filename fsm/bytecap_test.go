package fsm

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// capBytes caps the cluster.
func (m *machine) capBytes(limit int64) {
	m.t.Helper()
	m.must(UpdateSettings{MaxBytes: &limit}.Encode())
}

func TestSettingsAreRefusedOutOfBounds(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	for _, limit := range []int64{-1, 1, MinMaxBytes - 1} {
		if err := DecodeResult(m.entry(1, UpdateSettings{MaxBytes: &limit}.Encode())[0]); err == nil {
			t.Errorf("a cap of %d bytes is taken", limit)
		}
	}
	m.capBytes(MinMaxBytes)
	m.must(UpdateSettings{}.Encode())
	if got := m.Settings(); got.MaxBytes != MinMaxBytes {
		t.Errorf("settings %+v", got)
	}
}

func TestLiftedCapBringsNothingBack(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject(rule(1<<20, time.Hour, 0))
	data := string(bytes.Repeat([]byte("x"), 256<<10))
	for range 8 {
		m.publish(1, news, data)
	}
	m.capBytes(MinMaxBytes)
	m.tick(1)
	if got, want := m.info(news), (ChannelInfo{"news", 8, 5, 1 << 20}); got != want {
		t.Errorf("capped %+v, want %+v", got, want)
	}
	m.capBytes(0)
	m.tick(1)
	m.publish(1, news, data)
	m.flushed()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if got, want := m.info(news), (ChannelInfo{"news", 9, 5, 5 << 18}); got != want {
		t.Errorf("once the cap is lifted %+v, want %+v", got, want)
	}
}

// The newest bytes of the cluster are what a cap keeps, whatever channels they are
// in: the oldest message retained in one is younger than any let go in another.
func TestCapKeepsTheNewest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		m := openMachine(t, dir, lazy, panics)
		defer func() { _ = m.Close() }()
		m.createProject(rule(1<<20, 24*time.Hour, 0))
		limit := rapid.Int64Range(MinMaxBytes, MinMaxBytes+MinMaxBytes/4).Draw(rt, "cap")
		m.capBytes(limit)
		published := make([][]Message, 3)
		var largest, latest int64 // Bytes of one entry
		for n := range rapid.IntRange(20, 80).Draw(rt, "entries") {
			latest = 0
			c := rapid.IntRange(0, 2).Draw(rt, "channel")
			var data []string
			for range rapid.IntRange(0, 4).Draw(rt, "messages") {
				size := rapid.IntRange(20<<10, 60<<10).Draw(rt, "size")
				data = append(data, string(make([]byte, size)))
				latest += int64(size)
			}
			for i, r := range m.publish(rapid.Int64Range(1, 20).Draw(rt, "ms"), ChannelKey{projectID, fmt.Sprint(c)}, data...) {
				published[c] = append(published[c], Message{r.Offset, r.Timestamp, []byte(data[i])})
			}
			largest = max(largest, latest)
			if n%10 == 0 {
				m.flushed()
				m.evictAll()
			}
			var kept, total, gone int64
			oldest := m.stamp + 1
			for c, messages := range published {
				info := m.info(ChannelKey{projectID, fmt.Sprint(c)})
				kept += info.Bytes
				for _, msg := range messages {
					total += int64(len(msg.Data))
					if msg.Offset < info.Earliest {
						gone = max(gone, msg.Timestamp)
					} else {
						oldest = min(oldest, msg.Timestamp)
					}
				}
			}
			if gone >= oldest {
				rt.Fatalf("a message of %d is let go, one of %d is retained", gone, oldest)
			}
			// The cap holds as the entry begins, and what it brings comes on top.
			if kept > limit+latest {
				rt.Fatalf("%d bytes are retained, the cap is %d, the entry brought %d", kept, limit, latest)
			}
			if least := min(total, limit-limit/checkpointPrecision-checkpointStep-2*largest); kept < least {
				rt.Fatalf("only %d bytes of %d are retained, the cap is %d", kept, total, limit)
			}
		}
	})
}

// However much was published, there are few checkpoints and for any cap one that is
// close.
func TestCheckpointsAreFewAndClose(t *testing.T) {
	var v byteCap
	for stamp := int64(1); v.total < 32<<30; stamp++ {
		v.total += 100_000
		v.advance(stamp, 0)
	}
	if n := len(v.checkpoints); n > 400 {
		t.Errorf("%d checkpoints for 32 GiB", n)
	}
	for limit := int64(MinMaxBytes); limit < v.total; limit *= 3 {
		capped := byteCap{v.total, v.floor, append([]checkpoint(nil), v.checkpoints...)}
		capped.advance(1<<40, limit)
		kept := capped.total - capped.floor.total
		if kept > limit || kept < limit*9/10-100_000 {
			t.Errorf("under a cap of %d bytes %d are kept", limit, kept)
		}
	}
	d := decoder{wire.Reader{Rest: v.append(nil)}}
	if again := d.byteCap(); d.Finish() != nil || !reflect.DeepEqual(again, v) {
		t.Errorf("decoded otherwise than it was encoded: %v", d.Err)
	}
}

// What a cap lets go leaves the disk.
func TestCapShrinksTheDisk(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy, func(c *Config) { c.CompactBytes = 4 << 20 })
	m.createProject(rule(1<<20, 1000*time.Hour, 0))
	data := string(bytes.Repeat([]byte("x"), 64<<10))
	for i := range 1536 {
		m.publish(1, ChannelKey{projectID, fmt.Sprint(i % 50)}, data)
	}
	m.flushed()
	peak := m.fileSize()
	m.capBytes(MinMaxBytes)
	for deadline := time.Now().Add(20 * time.Second); m.fileSize() > peak/5; m.flushed() {
		if time.Now().After(deadline) {
			t.Fatalf("the file has %d bytes, at its peak it had %d", m.fileSize(), peak)
		}
		m.tick(sweepPause)
		m.rest(0)
	}
}

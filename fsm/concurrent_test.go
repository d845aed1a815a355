package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// small makes everything that is bounded reach its bound.
func small(c *Config) {
	c.FlushEvery, c.FlushBytes, c.PendingBytes, c.CacheBytes = time.Millisecond, 4<<10, 64<<10, 32<<10
	c.CompactBytes = 64 << 10
}

// Readers see no hole and no message twice, whatever is flushed, evicted,
// deleted or replaced under them.
func TestReadersBesideEverything(t *testing.T) {
	m := openMachine(t, t.TempDir(), small)
	m.createProject(rule(300, 50*time.Millisecond, 0))
	channel := func(i int) ChannelKey { return ChannelKey{projectID, fmt.Sprint("c", i%7)} }
	var done atomic.Bool
	var wg sync.WaitGroup
	reader := func(fn func(i int) error) {
		wg.Go(func() {
			for i := 0; !done.Load(); i++ {
				if err := fn(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		reader(func(i int) error {
			info, err := m.Channel(channel(i))
			if err != nil {
				return err
			}
			page, err := m.Read(channel(i), info.Earliest-1, 50, 1000)
			if err != nil {
				return err
			}
			if page.Earliest < info.Earliest || page.Head < info.Head {
				return fmt.Errorf("bounds went back from %+v to %d, %d", info, page.Earliest, page.Head)
			}
			for j, msg := range page.Messages {
				if want := page.Earliest + uint64(j); msg.Offset != want ||
					string(msg.Data) != fmt.Sprintf("%s:%d", channel(i).Name, want) {
					return fmt.Errorf("read %d: %q, want %d", msg.Offset, msg.Data, want)
				}
			}
			if len(page.Messages) == 0 && page.Earliest <= page.Head {
				return fmt.Errorf("empty page of %d to %d", page.Earliest, page.Head)
			}
			return nil
		})
	}
	reader(func(int) error {
		_, err := m.Channels(projectID, "", 5)
		return err
	})
	reader(func(i int) error {
		r, _, _, _, err := m.Snapshot()
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			err = errors.Join(err, r.Close())
		}
		if errors.Is(err, errReplaced) { // which a restore does at any time
			return nil
		}
		return err
	})
	heads := make(map[ChannelKey]uint64)
	deadline := time.Now().Add(2 * time.Second)
	for i := 0; time.Now().Before(deadline); i++ {
		var commands [][]byte
		for range 20 {
			c := channel(i)
			heads[c]++
			commands = append(commands, Publish{Channel: c, Data: fmt.Appendf(nil, "%s:%d", c.Name, heads[c])}.Encode())
		}
		m.entry(int64(i%2), commands...)
		if i%500 == 499 {
			if err := m.Restore(bytes.NewReader(m.snapshotBytes())); err != nil {
				t.Fatal(err)
			}
		}
	}
	done.Store(true)
	wg.Wait()
	for c, head := range heads {
		if got := m.info(c).Head; got != head {
			t.Errorf("head of %s is %d, want %d", c.Name, got, head)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := openMachine(t, t.TempDir(), small)
	m.createProject()
	data := bytes.Repeat([]byte("x"), 100)
	for i := range 3000 {
		key := ChannelKey{projectID, fmt.Sprint(i)}
		m.entry(0, Publish{Channel: key, Data: data}.Encode(), Publish{Channel: news, Data: data}.Encode())
		m.mu.RLock()
		pending, cached := m.pendingBytes(), m.cache.bytes
		m.mu.RUnlock()
		if limit := m.cfg.PendingBytes + 4096; pending > limit {
			t.Fatalf("%d bytes are pending, the limit is %d", pending, limit)
		}
		// What waits to be flushed is resident beside the cache.
		if limit := m.cfg.CacheBytes + m.cfg.PendingBytes + 4096; cached > limit {
			t.Fatalf("%d bytes are resident, the limit is %d", cached, limit)
		}
	}
	m.flushed()
	m.mu.RLock()
	cached, counted := m.cache.bytes, int64(0)
	for _, ch := range m.channels {
		counted += channelCost + int64(len(ch.key.Name))
		for i := range ch.cached {
			counted += ch.cached[i].cost()
		}
	}
	m.mu.RUnlock()
	if cached > m.cfg.CacheBytes || cached != counted {
		t.Errorf("the cache says %d bytes, there are %d, the limit is %d", cached, counted, m.cfg.CacheBytes)
	}
	for i := range 3000 {
		if got := m.read(ChannelKey{projectID, fmt.Sprint(i)}, 0); len(got) != 100 {
			t.Fatalf("channel %d: read %q", i, got)
		}
	}
}

// A full queue makes Entry wait, and lets it go on once there is room.
func TestEntryWaitsForTheFlusher(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy, func(c *Config) { c.PendingBytes = 1 << 10 })
	m.createProject()
	m.flusher.running.Lock()
	m.publish(0, news, string(bytes.Repeat([]byte("x"), 2<<10)))
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		m.tick(1)
	}()
	select {
	case <-waited:
		t.Error("an entry went past a full queue")
	case <-time.After(50 * time.Millisecond):
	}
	m.flusher.running.Unlock()
	select {
	case <-waited:
	case <-time.After(10 * time.Second):
		t.Fatal("an entry waits although there is room")
	}
}

func TestFailedWriteStopsTheNode(t *testing.T) {
	f := &fatalities{}
	m := openMachine(t, t.TempDir(), lazy, f.configure)
	m.createProject()
	m.mu.Lock()
	db := m.db
	m.mu.Unlock()
	if err := db.Close(); err != nil { // as good as a disk that fails
		t.Fatal(err)
	}
	if err := m.Flush(); err == nil {
		t.Error("flushed to nowhere")
	}
	<-m.flusher.done
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		t.Error("a failed write was not fatal")
	}
}

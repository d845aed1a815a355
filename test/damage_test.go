package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// flip inverts a bit of every copy of a text in the files of a pattern. Calling it
// again mends them.
func flip(t *testing.T, pattern, text string, at int) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for from := 0; ; found++ {
			i := bytes.Index(raw[from:], []byte(text))
			if i < 0 {
				break
			}
			from += i + len(text)
			place := from - len(text) + at
			if _, err := f.WriteAt([]byte{raw[place] ^ 1}, int64(place)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Fatalf("%s is nowhere in %s", text, pattern)
	}
}

func TestFlippedBitIsNeverServed(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	const damaged, sound = 2, 1
	const messages, flipped = 100, 50
	text := func(n int) string { return fmt.Sprintf("message number %04d of them", n) }
	for n := range messages {
		if _, err := rest(c, sound).Publish(within(t, deadline),
			client.Publication{Channel: "c", Data: text(n)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, fault := range []struct{ name, files, names string }{
		{"log", "raft/*.wal", ".wal"},
		{"state", "state/state.db", "corrupt"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			// What is stopped in good order has everything on its disk.
			if err := c.Stop(within(t, deadline), damaged); err != nil {
				t.Fatal(err)
			}
			flip(t, filepath.Join(c.Dir(damaged), fault.files), text(flipped), len("message"))
			if err := c.Start(damaged); err != nil {
				t.Fatal(err)
			}
			end := time.Now().Add(deadline)
			for ended := false; !ended; {
				page, err := history(t.Context(), c, damaged, "c")
				if err == nil && len(page) != messages {
					t.Fatalf("%d of %d messages served", len(page), messages)
				}
				for n, m := range page {
					if want := `"` + text(n) + `"`; string(m.Data) != want {
						t.Fatalf("served %s, published was %s", m.Data, want)
					}
				}
				select {
				case <-c.Exited(damaged):
					ended = true
				case <-time.After(20 * time.Millisecond):
					if time.Now().After(end) {
						t.Fatal("the node goes on with a flipped bit")
					}
				}
			}
			if last := lastLine(c.readLog(t, damaged)); !strings.Contains(last, fault.names) {
				t.Errorf("the last line of its log does not say why: %s", last)
			}
			mustPublish(t, c, sound, "others", 1)
			// Nothing was made worse: with the bit set right all is well.
			flip(t, filepath.Join(c.Dir(damaged), fault.files), strings.Replace(text(flipped), "message ", "message!", 1),
				len("message"))
			if err := c.Restart(within(t, deadline), damaged); err != nil {
				t.Fatal(err)
			}
			if page, err := history(within(t, deadline), c, damaged, "c"); err != nil || len(page) != messages {
				t.Errorf("%d messages after the repair, %v", len(page), err)
			}
		})
	}
}

// A snapshot lies on the disk from when it has come until it has taken the place
// of the state. A bit that flips then is found before that.
func TestFlippedBitInAReceivedSnapshot(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	l := startLoad(t, c, 20, 100)
	l.await(100)
	lead := leader(t, c)
	laggard := (lead + 1) % 3
	if err := c.Kill(laggard); err != nil {
		t.Fatal(err)
	}
	weigh(t, c, lead, 192<<20) // so that a snapshot is due
	if err := c.Start(laggard); err != nil {
		t.Fatal(err)
	}
	eventually(t, deadline, func() error {
		_, err := os.Stat(filepath.Join(c.Dir(laggard), "state", "state.db.restoring"))
		return err
	})
	if err := c.Kill(laggard); err != nil {
		t.Fatal(err)
	}
	received := filepath.Join(c.Dir(laggard), "snapshots", "install.state")
	turn := func() {
		t.Helper()
		f, err := os.OpenFile(received, os.O_RDWR, 0)
		if err != nil {
			t.Fatalf("the snapshot is not there any more: %v", err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		var bit [1]byte
		middle := info.Size() / 2
		if _, err := f.ReadAt(bit[:], middle); err != nil {
			t.Fatal(err)
		}
		bit[0] ^= 1
		if _, err := f.WriteAt(bit[:], middle); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	if err := c.Start(laggard); err != nil {
		t.Fatal(err)
	}
	for ended, end := false, time.Now().Add(deadline); !ended; {
		if page, err := history(t.Context(), c, laggard, l.channels[0]); err == nil {
			t.Fatalf("%d messages served beside a damaged snapshot", len(page))
		}
		select {
		case <-c.Exited(laggard):
			ended = true
		case <-time.After(20 * time.Millisecond):
			if time.Now().After(end) {
				t.Fatal("the node goes on with a flipped bit")
			}
		}
	}
	if last := lastLine(c.readLog(t, laggard)); !strings.Contains(last, "restore snapshot") ||
		!strings.Contains(last, "not what was sent") {
		t.Errorf("the last line of its log does not say why: %s", last)
	}
	// Nothing was made worse: with the bit set right it catches up.
	turn()
	if err := c.Restart(within(t, deadline), laggard); err != nil {
		t.Fatal(err)
	}
	l.await(100)
	l.end()
	l.check()
}

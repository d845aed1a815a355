package fsm

import (
	"os"
	"path/filepath"
	"testing"
)

func TestShed(t *testing.T) {
	const size = 2*shrinkStep + 1
	quit, over := make(chan struct{}), make(chan struct{})
	close(over)
	for _, c := range []struct {
		name string
		quit <-chan struct{}
		left int64
	}{{"to the end", quit, 0}, {"until it is told to stop", over, size - shrinkStep}} {
		t.Run(c.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "old"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			if err := shrinkFile(f, c.quit); err != nil {
				t.Fatal(err)
			}
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() != c.left {
				t.Errorf("%d bytes are left, want %d", info.Size(), c.left)
			}
		})
	}
}

// The space that is given back is that of the old file, once nobody reads it.
func TestCompactedStateIsWhole(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	m.publish(1, news, "1", "2")
	m.flushed()
	want := m.hash()
	m.compacted()
	<-m.released
	if m.hash() != want {
		t.Error("the state is another one")
	}
	m.kill()
	if openMachine(t, dir, lazy).hash() != want {
		t.Error("the state is another one when it is opened again")
	}
}

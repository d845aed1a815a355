package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGuardLetsOtherPanicsPass: only what the storage does becomes an error.
func TestGuardLetsOtherPanicsPass(t *testing.T) {
	defer func() {
		if cause := recover(); cause != "a bug" {
			t.Errorf("recovered %v", cause)
		}
	}()
	err := guarded(func() error { panic("a bug") })
	t.Errorf("a bug became %v", err)
}

// TestADamagedPageIsAStorageError zeroes, in turn, each page of a state file, and cuts
// the file at each, while the state is open and before it is opened. What is read
// then is what was written, or ends with a storage error: bbolt alone would panic, or
// the process die of a fault.
func TestADamagedPageIsAStorageError(t *testing.T) {
	pristine := t.TempDir()
	m := openMachine(t, pristine, lazy)
	m.createProject()
	for i := range 12 {
		channel := ChannelKey{news.Project, fmt.Sprintf("channel-%02d", i)}
		m.publish(int64(i+1), channel, strings.Repeat("x", 700))
	}
	m.flushed()
	want := m.hash()
	m.kill()
	content, err := os.ReadFile(filepath.Join(pristine, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	pages := len(content) / pageSize
	noticed := 0
	for page := range pages {
		if bytes.Count(content[page*pageSize:(page+1)*pageSize], []byte{0}) == pageSize {
			continue // the file is longer than what is in it
		}
		for _, damage := range []string{"zeroed", "cut", "random"} {
			for _, opened := range []bool{false, true} {
				name := fmt.Sprintf("page %d of %d %s, open: %v", page, pages, damage, opened)
				dir := copyState(t, pristine)
				path := filepath.Join(dir, stateFile)
				harm := func() {
					var err error
					switch damage {
					case "zeroed":
						err = writePage(path, page, make([]byte, pageSize))
					case "cut":
						err = os.Truncate(path, int64(page)*pageSize)
					case "random":
						err = writePage(path, page, noise(uint64(page)))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				if !opened {
					harm()
				}
				var told []error
				state, err := Open(Config{
					Dir: dir, Logger: m.cfg.Logger, Fatal: func(err error) { told = append(told, err) },
				})
				if err != nil {
					noticed++
					if opened {
						t.Fatalf("%s: %v", name, err)
					}
					continue
				}
				if opened {
					harm()
				}
				var listed error
				got, err := state.Hash()
				if err == nil { // else bbolt may never give back what it locked
					_, listed = state.Channels(news.Project, "", 100)
				}
				switch failed := errors.Join(append(slices.Clone(told), err, listed)...); {
				case failed != nil:
					noticed++
				case got != want && page > 1:
					// Of the two meta pages the older one holds an older state, which
					// the log leads on from.
					t.Errorf("%s: another state was read without a word", name)
				}
				// bbolt waits for what a damaged page interrupted, so the process ends
				// without closing.
			}
		}
	}
	if noticed == 0 {
		t.Error("no damage was noticed")
	}
}

func writePage(path string, page int, content []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, int64(page)*pageSize)
	return errors.Join(err, f.Close())
}

func noise(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // a test that must repeat
	b := make([]byte, pageSize)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

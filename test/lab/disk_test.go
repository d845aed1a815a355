package lab

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Of sectors that were written and not synced, a torn disk has some and lacks others; what
// was synced it has.
func TestTornDiskHasSomeSectors(t *testing.T) {
	NeedDisks(t)
	const sectors, size = 512, 512
	d := NewDisk(t, filepath.Join(t.TempDir(), "disk"), 64<<20)
	path := filepath.Join(d.dir, "file")
	content := func(b byte) []byte { return bytes.Repeat([]byte{b}, sectors*size) }
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { _, err := f.Write(content('a')); return err },
		f.Sync,
		func() error { _, err := f.WriteAt(content('b'), 0); return err },
		f.Close,
		func() error { return d.Tear(rand.New(rand.NewPCG(1, 1))) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	d.Power()
	found, err := os.ReadFile(path)
	if err != nil || len(found) != sectors*size {
		t.Fatalf("%d bytes are left, %v", len(found), err)
	}
	changes := 0
	for at := size; at < len(found); at += size {
		if found[at] != found[at-size] {
			changes++
		}
	}
	if found := bytes.Trim(found, "ab"); len(found) > 0 || changes < sectors/32 {
		t.Errorf("old and new sectors alternate %d times; what nobody wrote: %q", changes, found)
	}
}

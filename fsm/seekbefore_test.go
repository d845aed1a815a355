package fsm

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func TestSeekBeforeOverEmptiedPages(t *testing.T) {
	t.Parallel()
	const records = 2000 // of a hundred bytes: many pages
	name := func(i int) []byte { return fmt.Appendf(nil, "%06d", i) }
	for what, kept := range map[string]func(i int) bool{
		"none is left":         func(int) bool { return false },
		"the first is left":    func(i int) bool { return i == 0 },
		"the last is left":     func(i int) bool { return i == records-1 },
		"a middle is emptied":  func(i int) bool { return i < 300 || i > 1700 },
		"the end is emptied":   func(i int) bool { return i < 300 },
		"the begin is emptied": func(i int) bool { return i > 1700 },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			bucket := []byte("b")
			err = db.Update(func(tx *bolt.Tx) error {
				b, err := tx.CreateBucket(bucket)
				for i := 0; i < records && err == nil; i++ {
					err = b.Put(name(i), make([]byte, 100))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error {
				b := tx.Bucket(bucket)
				for i := range records {
					if !kept(i) {
						if err := b.Delete(name(i)); err != nil {
							return err
						}
					}
				}
				var want []byte
				for i := range records + 2 {
					c := b.Cursor()
					found, _ := c.Seek(name(i))
					if got, _ := seekBefore(c, name(i), found); !bytes.Equal(got, want) {
						return fmt.Errorf("before %d is %q, want %q", i, got, want)
					}
					if i < records && kept(i) {
						want = name(i)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

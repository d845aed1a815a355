package fsm

import (
	"bytes"

	bolt "go.etcd.io/bbolt"
)

// seekBefore returns the last record below the key sought, given the record found there.
//
// It works around bbolt v1.5.0 for a transaction that has emptied whole pages: Cursor.Last
// loops forever if all pages are empty, and Cursor.Prev takes an empty page for the
// beginning. It may go once a bbolt release skips empty pages in both.
func seekBefore(c *bolt.Cursor, sought, found []byte) (key, value []byte) {
	if found != nil {
		if key, value = c.Prev(); key != nil {
			return key, value
		}
	}
	first, _ := c.First()
	if first == nil || bytes.Compare(first, sought) >= 0 {
		return nil, nil
	}
	if found == nil {
		return c.Last()
	}
	c.Seek(sought)
	for key == nil {
		key, value = c.Prev()
	}
	return key, value
}

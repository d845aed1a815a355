package fsm

import (
	"bytes"

	bolt "go.etcd.io/bbolt"
)

// seekBefore returns the last record below a key that the cursor has just sought, with
// what it found. Where the transaction has emptied whole pages bbolt 1.5.0's Last
// never returns if all are empty, and Prev takes an empty one for the beginning.
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

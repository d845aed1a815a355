package fsm

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// writer changes records of the state file within one transaction. All changes pass through
// it, so that a running compaction notices them.
type writer struct {
	tx         *bolt.Tx
	compaction *compaction // nil if none is under way
}

// put stores a record. The body must not be used afterwards.
func (w *writer) put(bucket, key, body []byte) error {
	return w.store(bucket, key, seal(bucket, key, body))
}

// store stores a sealed value.
func (w *writer) store(bucket, key, value []byte) error {
	if err := w.tx.Bucket(bucket).Put(key, value); err != nil {
		return fmt.Errorf("write %s %q: %w", bucket, key, err)
	}
	w.compaction.note(bucket, key, len(value))
	return nil
}

// removeAt deletes the record at a cursor.
func (w *writer) removeAt(c *bolt.Cursor, bucket, key []byte) error {
	if err := c.Delete(); err != nil {
		return fmt.Errorf("delete %s %q: %w", bucket, key, err)
	}
	w.compaction.note(bucket, key, 0)
	return nil
}

// remove deletes a record.
func (w *writer) remove(bucket, key []byte) error {
	if err := w.tx.Bucket(bucket).Delete(key); err != nil {
		return fmt.Errorf("delete %s %q: %w", bucket, key, err)
	}
	w.compaction.note(bucket, key, 0)
	return nil
}

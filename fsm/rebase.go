package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/aptlyd/aptlyd/internal/durable"
	"github.com/aptlyd/aptlyd/internal/wire"
)

// OffsetJump is added to every channel's head when a new cluster begins from an old
// state. Retained messages keep their distance to the head, so offsets stay consecutive. A
// holder of any old offset finds every new message above it, unless a channel got more than
// OffsetJump messages since.
const OffsetJump = 1_000_000_000

// maxOffset is the largest number that every client represents exactly.
const maxOffset = 1<<53 - 1

// FirstIndex is the index and the term of the last applied entry in a rebased state. The
// new cluster begins with that entry.
const FirstIndex = 1

// NewCluster holds the ids that set a new cluster apart from the one that its state came
// from.
type NewCluster struct{ ClusterID, Epoch string }

// Rebase makes in dir the state of a new cluster out of the state in another folder. dir
// must not hold a state, and nobody may have the other one open.
func Rebase(from, dir string, f NewCluster) (Summary, error) {
	return rebase(filepath.Join(from, stateFile), dir, f)
}

// RebaseBackup is Rebase from a file that CheckBackup accepts.
func RebaseBackup(file, dir string, f NewCluster) (Summary, error) {
	if err := checkFooter(file); err != nil {
		return Summary{}, err
	}
	return rebase(file, dir, f)
}

func rebase(file, dir string, f NewCluster) (s Summary, err error) {
	old, err := openReadOnly(file)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	// Refuse a state of another version before making anything.
	if _, err := loadImage(old); err != nil {
		return s, fmt.Errorf("read %s: %w", file, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, fmt.Errorf("make folder of state: %w", err)
	}
	path := filepath.Join(dir, newStateFile)
	if err := removeIfExists(path); err != nil {
		return s, err
	}
	db, err := openStore(path)
	if err != nil {
		return s, err
	}
	r := rebaser{NewCluster: f, to: db}
	err = guarded(func() error { return old.View(r.copy) })
	if err == nil {
		err = db.View(func(tx *bolt.Tx) error {
			s, err = summarise(tx)
			return err
		})
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return s, fmt.Errorf("rebase state: %w", errors.Join(err, removeIfExists(path)))
	}
	return s, durable.Install(path, filepath.Join(dir, stateFile))
}

// rebaser copies a state and changes the parts that belong to a cluster.
type rebaser struct {
	NewCluster
	to *bolt.DB
}

// copy copies everything, some megabytes in a transaction. The file is synced once it is
// complete.
func (r *rebaser) copy(from *bolt.Tx) error {
	r.to.NoSync = true
	if err := r.to.Update(createBuckets); err != nil {
		return err
	}
	for _, name := range buckets {
		cursor := from.Bucket(name).Cursor()
		key, value := cursor.First()
		for key != nil {
			err := r.to.Update(func(tx *bolt.Tx) error {
				b := tx.Bucket(name)
				b.FillPercent = 1 // the order of keys stays
				for size := 0; key != nil && size < compactStep; key, value = cursor.Next() {
					if err := r.record(b, name, key, value); err != nil {
						return err
					}
					size += len(key) + len(value)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	r.to.NoSync = false
	if err := r.to.Sync(); err != nil {
		return fmt.Errorf("sync state: %w", err)
	}
	return nil
}

// record writes one record of the new state.
func (r *rebaser) record(b *bolt.Bucket, bucket, key, value []byte) error {
	body, err := unseal(bucket, key, value)
	if err != nil {
		return err
	}
	d := decoder{wire.Reader{Rest: body}}
	switch string(bucket) {
	case string(bucketSessions):
		return nil // forwarders of the old cluster
	case string(bucketAdmins):
		token := d.adminToken()
		if token.Parent != "" && d.Err == nil {
			return nil // a console session, which may have ended since
		}
	case string(bucketMeta):
		body = r.meta(&d, key)
	case string(bucketChannels):
		d.Rest = nil
		if body, err = r.block(&d, key, value); err != nil {
			return err
		}
	case string(bucketChunks):
		d.Rest = nil // the offset is in the key
		n := len(key) - 8
		if n < 0 {
			return fmt.Errorf("split key %q: %w", key, errCorrupt)
		}
		key = binary.BigEndian.AppendUint64(key[:n:n], jump(&d, binary.BigEndian.Uint64(key[n:])))
	case string(bucketProjects):
		// Channels made after the state was saved begin above their old offsets too.
		p := d.storedProject()
		p.FirstOffset = jump(&d, max(p.FirstOffset, 1))
		body = p.append(nil)
	case string(bucketIDs):
		ids := d.ids()
		for i := range ids {
			ids[i].offset = jump(&d, ids[i].offset)
		}
		body = appendIDs(nil, ids)
	default:
		d.Rest = nil
	}
	if err := d.Finish(); err != nil {
		return fmt.Errorf("decode %s %q: %w", bucket, key, err)
	}
	if err := b.Put(key, seal(bucket, key, slices.Clip(body))); err != nil {
		return fmt.Errorf("write %s %q: %w", bucket, key, err)
	}
	return nil
}

// block returns the new body of a block. Tails end at their heads, so they need no change.
func (r *rebaser) block(d *decoder, key, value []byte) ([]byte, error) {
	var entries []entry
	var wrong error
	err := scanBlock(key, value, func(channel, body []byte) bool {
		var h head
		var tail []byte
		if h, tail, wrong = decodeChannel(channel, body); wrong != nil {
			return false
		}
		if !h.forgotten() {
			h.offset, h.floor = jump(d, h.offset), jump(d, h.floor)
		}
		entries = append(entries, entry{slices.Clone(channel), append(h.append(nil), tail...)})
		return true
	})
	return appendEntries(nil, entries), errors.Join(err, wrong)
}

// meta returns the new body of a record in bucketMeta.
func (r *rebaser) meta(d *decoder, key []byte) []byte {
	body := d.Rest
	switch string(key) {
	case string(metaApplied):
		p := d.position()
		return position{FirstIndex, FirstIndex, p.stamp}.append(nil)
	case string(metaCluster):
		c := d.cluster()
		c.id, c.epoch = r.ClusterID, r.Epoch
		return c.append(nil)
	default:
		d.Rest = nil
		return body
	}
}

// jump returns an offset in the new numbering.
func jump(d *decoder, offset uint64) uint64 {
	if offset > maxOffset-OffsetJump {
		d.Fail(fmt.Errorf("offset %d cannot grow by %d", offset, OffsetJump))
	}
	return offset + OffsetJump
}

// openReadOnly opens a state file, or a backup, which begins like one.
func openReadOnly(path string) (*bolt.DB, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	} else if info.Size() == 0 {
		return nil, fmt.Errorf("open %s: %w", path, io.ErrUnexpectedEOF)
	}
	db, err := openBolt(path, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/aptlyd/aptlyd/internal/durable"
)

// The file of the state, and those that become it by renaming once complete.
const (
	stateFile       = "state.db"
	newStateFile    = "state.db.new"
	restoringState  = "state.db.restoring"
	compactingState = "state.db.compacting"
)

// mmapSize reserves address space, not memory. While the file fits into it, bbolt need not
// map it again, which waits for all readers.
const mmapSize = 64 << 30

// lockTimeout bounds the wait for another process that has the file open.
const lockTimeout = 3 * time.Second

func openStore(path string) (*bolt.DB, error) {
	db, err := openBolt(path, &bolt.Options{
		Timeout:         lockTimeout,
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mmapSize,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// verifyPages reads every key of a state file and checks their order. To find the free pages
// bbolt does the same on a goroutine of its own. There a damaged page ends the process, and
// after keys in disorder bbolt v1.5.0 closes the transaction that the goroutine still reads.
func verifyPages(path string) (err error) {
	db, err := openReadOnly(path)
	if err != nil {
		return err
	}
	defer func() {
		if !errors.Is(err, errCorrupt) { // else bbolt may wait for what a panic interrupted
			err = errors.Join(err, db.Close())
		}
	}()
	return guarded(func() error {
		return db.View(func(tx *bolt.Tx) error {
			return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
				var previous []byte
				return b.ForEach(func(key, value []byte) error {
					if value == nil || bytes.Compare(previous, key) >= 0 {
						return errCorrupt
					}
					previous = key
					readSink.Store(uint32(key[len(key)-1]))
					return nil
				})
			})
		})
	})
}

// readSink keeps the compiler from removing a read that may fault.
var readSink atomic.Uint32

// openBolt opens a file and returns bbolt's panics as errors.
func openBolt(path string, options *bolt.Options) (db *bolt.DB, err error) {
	err = guarded(func() (err error) {
		db, err = bolt.Open(path, 0o600, options)
		return err
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, ErrInUse
	}
	return db, err
}

// createStore makes an empty state file, all of it or nothing.
func createStore(dir string) error {
	path := filepath.Join(dir, newStateFile)
	db, err := openStore(path)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if err := createBuckets(tx); err != nil {
			return err
		}
		w := writer{tx: tx}
		if err := w.put(bucketMeta, metaFormat, binary.AppendUvarint(nil, format)); err != nil {
			return err
		}
		if err := w.put(bucketMeta, metaSettings, Settings{}.append(nil)); err != nil {
			return err
		}
		if err := w.put(bucketMeta, metaByteCap, new(byteCap).append(nil)); err != nil {
			return err
		}
		return w.put(bucketMeta, metaApplied, position{}.append(nil))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return durable.Install(path, filepath.Join(dir, stateFile))
}

func createBuckets(tx *bolt.Tx) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return fmt.Errorf("create bucket %s: %w", name, err)
		}
	}
	return nil
}

// openState opens the state file of dir, and makes it if there is none.
func openState(dir string) (*bolt.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of state: %w", err)
	}
	path := filepath.Join(dir, stateFile)
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		// Remove the rest of an interrupted attempt.
		if err := removeIfExists(filepath.Join(dir, newStateFile)); err != nil {
			return nil, err
		}
		if err = createStore(dir); err == nil {
			err = durable.Sync(filepath.Dir(filepath.Clean(dir)))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find state: %w", err)
	}
	if err := verifyPages(path); err != nil {
		return nil, fmt.Errorf("state in %s: %w", dir, err)
	}
	db, err := openStore(path)
	if err != nil {
		return nil, err
	}
	// With the lock held, nobody else owns a half-made state.
	for _, leftover := range []string{restoringState, compactingState} {
		if err := removeIfExists(filepath.Join(dir, leftover)); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove leftover: %w", err)
	}
	return nil
}

// image is the part of the state that always is in memory.
type image struct {
	position
	level    uint32 // highest level of an applied command
	cluster  cluster
	settings Settings
	byteCap  byteCap
	registry *registry
	admins   *adminTable
	usage    map[string]*projectUsage // by project
	audit    *auditLog
	sessions *sessionTable
	ids      *idTable
}

func newImage() *image {
	return &image{
		level:    1,
		registry: newRegistry(),
		admins:   newAdminTable(),
		usage:    make(map[string]*projectUsage),
		audit:    newAuditLog(),
		sessions: newSessionTable(),
		ids:      newIDTable(),
	}
}

// loadImage reads the image from a state file.
func loadImage(db *bolt.DB) (*image, error) {
	im := newImage()
	err := guarded(func() error { return db.View(im.load) })
	if err != nil {
		return nil, fmt.Errorf("load state: %w", err)
	}
	return im, nil
}

func (im *image) load(tx *bolt.Tx) error {
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("bucket %s is missing: %w", name, errCorrupt)
		}
	}
	if err := im.loadMeta(tx); err != nil {
		return err
	}
	projects := make(map[string]*project)
	err := each(tx, bucketProjects, func(d *decoder, key []byte) {
		projects[string(key)] = d.storedProject()
	})
	if err != nil {
		return err
	}
	im.registry.projects.Store(&projects)
	err = each(tx, bucketTombstones, func(d *decoder, key []byte) {
		im.registry.tombstones[string(key)] = d.Bool()
	})
	if err != nil {
		return err
	}
	err = each(tx, bucketKeys, func(d *decoder, _ []byte) {
		k := d.storedKey()
		im.registry.setKey(&k)
	})
	if err != nil {
		return err
	}
	err = each(tx, bucketAdmins, func(d *decoder, _ []byte) {
		token := d.adminToken()
		im.admins.set(&token)
	})
	if err != nil {
		return err
	}
	err = each(tx, bucketAudit, func(d *decoder, _ []byte) { im.audit.add(d.auditRecord()) })
	if err != nil {
		return err
	}
	var sessions []*session
	err = each(tx, bucketSessions, func(d *decoder, key []byte) {
		if len(key) != len(sessionID{}) {
			d.Fail(errCorrupt)
			return
		}
		sessions = append(sessions, d.session(sessionID(key)))
	})
	if err != nil {
		return err
	}
	im.sessions.fill(sessions)
	return im.loadIDs(tx)
}

func (im *image) loadMeta(tx *bolt.Tx) error {
	var version uint64
	err := get(tx, bucketMeta, metaFormat, func(d *decoder) { version = d.Uvarint() })
	if err != nil {
		return err
	}
	if version != format {
		return fmt.Errorf("%w: the state has format %d, this one reads %d", durable.ErrOtherVersion, version, format)
	}
	if err := get(tx, bucketMeta, metaApplied, func(d *decoder) { im.position = d.position() }); err != nil {
		return err
	}
	if err := get(tx, bucketMeta, metaSettings, func(d *decoder) { im.settings = d.settings() }); err != nil {
		return err
	}
	if err := get(tx, bucketMeta, metaByteCap, func(d *decoder) { im.byteCap = d.byteCap() }); err != nil {
		return err
	}
	if tx.Bucket(bucketMeta).Get(metaLevel) != nil {
		if err := get(tx, bucketMeta, metaLevel, func(d *decoder) { im.level = uint32(d.Uvarint()) }); err != nil {
			return err
		}
	}
	if err := im.loadUsage(tx); err != nil {
		return err
	}
	if tx.Bucket(bucketMeta).Get(metaCluster) == nil {
		return nil
	}
	return get(tx, bucketMeta, metaCluster, func(d *decoder) { im.cluster = d.cluster() })
}

func (im *image) loadIDs(tx *bolt.Tx) error {
	begun := false
	err := each(tx, bucketIDs, func(d *decoder, key []byte) {
		if len(key) != 8 {
			d.Fail(errCorrupt)
			return
		}
		seq := binary.BigEndian.Uint64(key)
		if !begun {
			im.ids.first, begun = seq, true
		}
		if seq != im.ids.next() {
			d.Fail(fmt.Errorf("ids from %d on are missing", im.ids.next()))
			return
		}
		for _, id := range d.ids() {
			im.ids.add(id)
		}
	})
	im.ids.expire(im.stamp)
	return err
}

// get reads a record that must be there.
func get(tx *bolt.Tx, bucket, key []byte, decode func(*decoder)) error {
	return open(bucket, key, tx.Bucket(bucket).Get(key), decode)
}

// each reads all records of a bucket in the order of their keys.
func each(tx *bolt.Tx, bucket []byte, decode func(d *decoder, key []byte)) error {
	return tx.Bucket(bucket).ForEach(func(key, value []byte) error {
		return open(bucket, key, value, func(d *decoder) { decode(d, key) })
	})
}

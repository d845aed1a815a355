package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// ErrNotBackup says that a file is no backup, incomplete or damaged.
var ErrNotBackup = errors.New("not an intact backup")

// Summary describes the content of a state.
type Summary struct {
	ClusterID string `json:"clusterId"`
	Epoch     string `json:"epoch"`
	Stamp     int64  `json:"stamp"` // of the last entry applied, Unix ms
	Projects  int    `json:"projects"`
	Keys      int    `json:"keys"`
	Channels  int    `json:"channels"`
	Messages  uint64 `json:"messages"` // stored, some of which may not be retained any more
}

// CheckBackup reads a whole backup, its checksum and every record. A damaged file is an
// ErrNotBackup; a file of another version is not.
func CheckBackup(file string) (s Summary, err error) {
	if err := checkFooter(file); err != nil {
		return s, err
	}
	db, err := openReadOnly(file)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = guarded(func() error {
		return db.View(func(tx *bolt.Tx) error {
			s, err = summarise(tx)
			return err
		})
	})
	switch {
	case errors.Is(err, errCorrupt):
		return s, fmt.Errorf("%s is %w: %w", file, ErrNotBackup, err)
	case err != nil:
		return s, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// BackupID returns a name for the content of a backup, made from the checksum at its end.
func BackupID(file string) (id string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("open backup: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	footer := make([]byte, snapshotFooter)
	if _, err := f.Seek(-int64(snapshotFooter), io.SeekEnd); err != nil {
		return "", fmt.Errorf("%s is %w: it is too short", file, ErrNotBackup)
	}
	if _, err := io.ReadFull(f, footer); err != nil {
		return "", fmt.Errorf("read end of backup: %w", err)
	}
	if !bytes.HasPrefix(footer, []byte(snapshotMagic)) {
		return "", fmt.Errorf("%s is %w: its end is missing", file, ErrNotBackup)
	}
	return fmt.Sprintf("%x", sha256.Sum256(footer)), nil
}

// checkFooter verifies the size and the checksum of a backup.
func checkFooter(file string) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open backup: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at backup: %w", err)
	}
	size := info.Size() - int64(snapshotFooter)
	footer := make([]byte, snapshotFooter)
	if size <= 0 {
		return fmt.Errorf("%s is %w: it has %d bytes", file, ErrNotBackup, info.Size())
	}
	if _, err := f.ReadAt(footer, size); err != nil {
		return fmt.Errorf("read end of backup: %w", err)
	}
	if !bytes.HasPrefix(footer, []byte(snapshotMagic)) {
		return fmt.Errorf("%s is %w: its end is missing", file, ErrNotBackup)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, size)); err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	if !bytes.Equal(footer, appendFooter(nil, size, sum)) {
		return fmt.Errorf("%s is %w: its content is not what was written", file, ErrNotBackup)
	}
	return nil
}

// summarise reads and verifies every record.
func summarise(tx *bolt.Tx) (Summary, error) {
	im := newImage()
	if err := im.load(tx); err != nil {
		return Summary{}, err
	}
	s := Summary{
		ClusterID: im.cluster.id,
		Epoch:     im.cluster.epoch,
		Stamp:     im.stamp,
		Projects:  len(*im.registry.projects.Load()),
	}
	err := each(tx, bucketKeys, func(d *decoder, _ []byte) {
		d.Rest = nil
		s.Keys++
	})
	if err != nil {
		return s, err
	}
	err = verifyChannels(tx, func(tail segment) {
		s.Channels++
		s.Messages += uint64(len(tail.messages))
	})
	if err != nil {
		return s, err
	}
	err = tx.Bucket(bucketChunks).ForEach(func(key, value []byte) error {
		chunk, err := decodeChunk(key, value)
		s.Messages += uint64(len(chunk.messages))
		return err
	})
	return s, err
}

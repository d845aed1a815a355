package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// The content of state.db. Every value ends in a CRC-32C (Castagnoli, little endian) over
// bucket, key and body, which reveals flipped bits and records under the wrong key. bbolt
// itself checks only its meta pages.
//
//	meta      "format"                         uvarint format
//	          "applied"                        uvarint index, term; varint stamp
//	          "cluster"                        cluster id, epoch, sealed key-encryption key
//	          "settings"                       settings of the cluster
//	          "volume"                         payload bytes published, and when
//	          "level"                          uvarint feature level, if above 1
//	          "usage/", project id             what its clients did, by hour and by day
//	projects  project id                       project
//	gone      id of a deleted project          bool: nothing of it is left
//	keys      key id                           key
//	admins    admin token id                   admin token or console session
//	audit     sequence number (8, BE)          audit record
//	channels  first channel, or lower          block: heads and newest messages of neighbouring channels
//	chunks    channel, first offset (8, BE)    consecutive messages of the channel, older ones
//	sessions  session (16)                     forwarder session
//	ids       first sequence (8, BE)           consecutive message ids
//
// where channel is the project id and the name, each closed by a zero byte, which neither
// may contain. So the channels of a project are in the order of their names, and the chunks
// of a channel in the order of their offsets.
var (
	bucketMeta       = []byte("meta")
	bucketProjects   = []byte("projects")
	bucketTombstones = []byte("gone")
	bucketKeys       = []byte("keys")
	bucketAdmins     = []byte("admins")
	bucketAudit      = []byte("audit")
	bucketChannels   = []byte("channels")
	bucketChunks     = []byte("chunks")
	bucketSessions   = []byte("sessions")
	bucketIDs        = []byte("ids")

	buckets = [][]byte{
		bucketMeta, bucketProjects, bucketTombstones, bucketKeys, bucketAdmins, bucketAudit,
		bucketChannels, bucketChunks, bucketSessions, bucketIDs,
	}

	metaFormat  = []byte("format")
	metaApplied = []byte("applied")
	metaCluster = []byte("cluster")

	metaSettings = []byte("settings")
	metaByteCap  = []byte("volume")
	metaLevel    = []byte("level")
	metaUsage    = []byte("usage/")
)

// format is the version of this layout.
const format = 3

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(bucket, key, body []byte) uint32 {
	sum := crc32.Update(0, castagnoli, bucket)
	sum = crc32.Update(sum, castagnoli, key)
	return crc32.Update(sum, castagnoli, body)
}

// seal appends the checksum to body, which makes it a value to store.
func seal(bucket, key, body []byte) []byte {
	return binary.LittleEndian.AppendUint32(body, checksum(bucket, key, body))
}

// unseal verifies a stored value and returns its body.
func unseal(bucket, key, value []byte) ([]byte, error) {
	n := len(value) - 4
	if n < 0 || checksum(bucket, key, value[:n]) != binary.LittleEndian.Uint32(value[n:]) {
		return nil, fmt.Errorf("read %s %q: %w", bucket, key, errCorrupt)
	}
	return value[:n:n], nil
}

// open verifies a value and passes its body to decode.
func open(bucket, key, value []byte, decode func(*decoder)) error {
	body, err := unseal(bucket, key, value)
	if err != nil {
		return err
	}
	d := decoder{wire.Reader{Rest: body}}
	decode(&d)
	if err := d.Finish(); err != nil {
		return fmt.Errorf("decode %s %q: %w: %w", bucket, key, errCorrupt, err)
	}
	return nil
}

// position is the last entry that the state has applied.
type position struct {
	index, term uint64
	stamp       int64 // Unix ms
}

func (p position) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, p.index)
	dst = binary.AppendUvarint(dst, p.term)
	return binary.AppendVarint(dst, p.stamp)
}

func (d *decoder) position() position {
	return position{d.Uvarint(), d.Uvarint(), d.Varint()}
}

// cluster holds the values that Init sets.
type cluster struct {
	id, epoch   string
	keyring     []byte
	initialised bool
}

func (c *cluster) append(dst []byte) []byte {
	dst = wire.AppendBytes(dst, c.id)
	dst = wire.AppendBytes(dst, c.epoch)
	return wire.AppendBytes(dst, c.keyring)
}

func (d *decoder) cluster() cluster {
	return cluster{d.string(), d.string(), d.blob(), true}
}

// Bounds of the parts of a channel's key and of a message id, in bytes.
const (
	maxProjectID   = 255
	maxChannelName = 255
	maxMessageID   = 128
)

// namable reports whether b can be a part of a channel's key.
func namable[T string | []byte](b T, limit int) bool {
	if len(b) == 0 || len(b) > limit {
		return false
	}
	for i := range len(b) {
		if b[i] == 0 {
			return false
		}
	}
	return true
}

func appendProjectPrefix(dst []byte, project string) []byte {
	return append(append(dst, project...), 0)
}

func appendChannelKey(dst []byte, key ChannelKey) []byte {
	dst = slices.Grow(dst, len(key.Project)+len(key.Name)+2+8) // what follows in the key of a chunk, too
	return append(append(appendProjectPrefix(dst, key.Project), key.Name...), 0)
}

func appendChunkKey(dst, channel []byte, first uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, channel...), first)
}

// splitChannelKey splits a channel's key. rest is what follows it, which is the first
// offset in the key of a chunk. All parts alias key.
func splitChannelKey(key []byte) (project, name, rest []byte, err error) {
	project, rest, ok := bytes.Cut(key, []byte{0})
	if ok {
		name, rest, ok = bytes.Cut(rest, []byte{0})
	}
	if !ok {
		return nil, nil, nil, fmt.Errorf("split key %q: %w", key, errCorrupt)
	}
	return project, name, rest, nil
}

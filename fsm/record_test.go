package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

func TestSealedRecordsBelongToTheirPlace(t *testing.T) {
	value := seal(bucketKeys, []byte("k"), []byte("body"))
	if body, err := unseal(bucketKeys, []byte("k"), value); err != nil || string(body) != "body" {
		t.Errorf("unsealed %q, %v", body, err)
	}
	for n := range value {
		if _, err := unseal(bucketKeys, []byte("k"), value[:n]); !errors.Is(err, errCorrupt) {
			t.Errorf("first %d bytes: %v", n, err)
		}
		for bit := range 8 {
			flipped := bytes.Clone(value)
			flipped[n] ^= 1 << bit
			if _, err := unseal(bucketKeys, []byte("k"), flipped); !errors.Is(err, errCorrupt) {
				t.Errorf("byte %d, bit %d flipped: %v", n, bit, err)
			}
		}
	}
	if _, err := unseal(bucketKeys, []byte("j"), value); !errors.Is(err, errCorrupt) {
		t.Errorf("under another key: %v", err)
	}
	if _, err := unseal(bucketChunks, []byte("k"), value); !errors.Is(err, errCorrupt) {
		t.Errorf("in another bucket: %v", err)
	}
}

// alter changes a stored value.
func (m *machine) alter(bucket []byte, change func(value []byte) []byte) {
	m.t.Helper()
	err := m.db.Update(func(tx *bolt.Tx) error {
		key, value := tx.Bucket(bucket).Cursor().First()
		if key == nil {
			return fmt.Errorf("bucket %s is empty", bucket)
		}
		key, value = bytes.Clone(key), change(bytes.Clone(value))
		if value == nil {
			return tx.Bucket(bucket).Delete(key)
		}
		return tx.Bucket(bucket).Put(key, value)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func flip(value []byte) []byte {
	value[len(value)/2] ^= 0x10
	return value
}

func TestFlippedBitStopsTheNode(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(m *machine)
		in   []byte
	}{
		{"reading a chunk", func(m *machine) { _, _ = m.Read(news, 0, 10, 100) }, bucketChunks},
		{"reading a head", func(m *machine) { _, _ = m.Channel(news) }, bucketChannels},
		{"listing channels", func(m *machine) { _, _ = m.Channels(projectID, "", 10) }, bucketChannels},
		{"publishing", func(m *machine) { m.publish(1, news, "x") }, bucketChannels},
		{"sweeping", func(m *machine) { m.tick(sweepPause); _ = m.Flush(); <-m.flusher.done }, bucketChunks},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fatalities{}
			m := openMachine(t, t.TempDir(), lazy, f.configure)
			m.createProject()
			m.publish(1, news, "1", "2", long)
			m.flushed()
			m.evictAll()
			m.alter(c.in, flip)
			if err := expectFatal(t, f, func() { c.do(m) }); !errors.Is(err, errCorrupt) {
				t.Errorf("stopped for %v", err)
			}
		})
	}
}

func TestLostChunkStopsTheNode(t *testing.T) {
	f := &fatalities{}
	m := openMachine(t, t.TempDir(), lazy, f.configure)
	m.createProject()
	m.publish(1, news, "1", "2", long)
	m.flushed()
	m.evictAll()
	m.alter(bucketChunks, func([]byte) []byte { return nil })
	if err := expectFatal(t, f, func() { _, _ = m.Channel(news) }); !errors.Is(err, errMissing) {
		t.Errorf("stopped for %v", err)
	}
}

func TestFlippedBitRefusesToOpen(t *testing.T) {
	for _, bucket := range [][]byte{bucketMeta, bucketProjects, bucketKeys, bucketSessions, bucketIDs} {
		dir := t.TempDir()
		m := openMachine(t, dir, lazy)
		m.createProject()
		m.must(CreateKey{Key: newKey("k", PublicKey)}.Encode())
		m.publishID(1, news, "id")
		m.flushed()
		m.alter(bucket, flip)
		m.kill()
		_, err := Open(m.cfg)
		if !errors.Is(err, errCorrupt) || !strings.Contains(err.Error(), string(bucket)) {
			t.Errorf("%s: opened with %v", bucket, err)
		}
	}
}

func TestUndecodableCommandStopsTheNode(t *testing.T) {
	for _, command := range [][]byte{
		{},
		{byte(opPublish), 1, 200},
		{byte(opPublish), 9},
		{77, 1},
		{byte(opRevokeKey), 1},
	} {
		f := &fatalities{}
		m := openMachine(t, t.TempDir(), lazy, f.configure)
		m.createProject()
		err := expectFatal(t, f, func() { m.entry(1, command) })
		if !strings.Contains(err.Error(), "entry 2") || !strings.Contains(err.Error(), fmt.Sprintf("op %d", opOf(command))) {
			t.Errorf("stopped for %v", err)
		}
		if err := m.Flush(); err == nil {
			t.Error("what came of it was flushed")
		}
	}
}

func TestFutureFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	err := m.db.Update(func(tx *bolt.Tx) error {
		return (&writer{tx: tx}).put(bucketMeta, metaFormat, []byte{format + 1})
	})
	if err != nil {
		t.Fatal(err)
	}
	m.kill()
	if _, err := Open(m.cfg); err == nil || !strings.Contains(err.Error(), fmt.Sprint("format ", format+1)) {
		t.Errorf("opened with %v", err)
	}
}

func TestChunksComeBack(t *testing.T) {
	var s segment
	s.before = 77
	for i := range 1000 {
		data := bytes.Repeat([]byte{byte(i)}, i)
		s.messages = append(s.messages, Message{uint64(i + 5), start + int64(i*i), data})
		s.bytes += int64(i)
	}
	parts := s.split()
	channel := appendChannelKey(nil, news)
	next, before := uint64(5), int64(77)
	for i := range parts {
		part := &parts[i]
		if len(part.messages) > chunkMessages || part.bytes > chunkBytes && len(part.messages) > 1 {
			t.Errorf("chunk of %d messages and %d bytes", len(part.messages), part.bytes)
		}
		if part.first() != next || part.before != before {
			t.Fatalf("chunk begins at %d after %d bytes, want %d, %d", part.first(), part.before, next, before)
		}
		next, before = part.last()+1, before+part.bytes
		key := appendChunkKey(nil, channel, part.first())
		value, copied := part.chunk(key)
		decoded, err := decodeChunk(key, value)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []segment{copied, decoded} {
			if got.before != part.before || got.bytes != part.bytes || len(got.messages) != len(part.messages) {
				t.Fatalf("chunk came back with %d messages, %d bytes", len(got.messages), got.bytes)
			}
			for j := range got.messages {
				g, w := got.messages[j], part.messages[j]
				if g.Offset != w.Offset || g.Timestamp != w.Timestamp || !bytes.Equal(g.Data, w.Data) {
					t.Fatalf("message %d of chunk %d is not what it was", j, i)
				}
			}
		}
		for n := range min(len(value), 300) {
			if _, err := decodeChunk(key, value[:n]); err == nil {
				t.Fatalf("the first %d bytes are a chunk", n)
			}
		}
	}
	if next != 1005 {
		t.Errorf("the chunks end before %d", next)
	}
}

// FuzzRecord feeds every decoder of stored bodies, behind a checksum that holds.
func FuzzRecord(f *testing.F) {
	p := &project{sample, 3, []pastRules{{2, start, sample.Rules}}}
	f.Add(p.append(nil))
	p.FirstOffset = 5
	f.Add(p.append(nil))
	f.Add((&session{last: 3, acked: 1, used: start, results: [][][]byte{{{0}}, {}}}).append(nil))
	f.Add((&head{5, 100, 7, start, 2, 3}).append(nil))
	f.Add(appendIDs(nil, []seenID{{idHash{1}, 2, start, 0}}))
	f.Add(appendIDs(nil, []seenID{{idHash{1}, 2, start, 7}}))
	f.Add(appendKey(nil, &sampleKey))
	f.Add(position{1, 2, 3}.append(nil))
	f.Add((&AuditRecord{
		Seq: 1, At: start, By: Actor{"a", "b", "c", "d", ""}, Action: "e",
		After: []byte("{}"),
	}).append(nil))
	f.Add((&byteCap{1 << 20, checkpoint{start, 5}, []checkpoint{{start + 1, 6}}}).append(nil))
	f.Add(Settings{MinMaxBytes}.append(nil))
	f.Add(appendEntries(nil, sampleBlock()))
	s := segment{messages: []Message{{1, start, []byte("x")}, {2, start + 1, nil}}, bytes: 1}
	key := appendChunkKey(nil, appendChannelKey(nil, news), 1)
	chunk, _ := s.chunk(key)
	f.Add(chunk[:len(chunk)-4])
	f.Fuzz(func(t *testing.T, body []byte) {
		decode := func(read func(*decoder) (again []byte)) {
			d := decoder{wire.Reader{Rest: body}}
			again := read(&d)
			if d.Finish() != nil {
				return
			}
			second := decoder{wire.Reader{Rest: again}}
			if got := read(&second); second.Finish() != nil || !bytes.Equal(got, again) {
				t.Errorf("% x came back as % x", again, got)
			}
		}
		decode(func(d *decoder) []byte { return d.storedProject().append(nil) })
		decode(func(d *decoder) []byte { return d.session(sessionID{}).append(nil) })
		decode(func(d *decoder) []byte { h := d.head(); return h.append(nil) })
		decode(func(d *decoder) []byte { return appendIDs(nil, d.ids()) })
		decode(func(d *decoder) []byte { k := d.storedKey(); return appendStoredKey(nil, &k) })
		decode(func(d *decoder) []byte { return d.position().append(nil) })
		decode(func(d *decoder) []byte { token := d.adminToken(); return appendAdminToken(nil, &token) })
		decode(func(d *decoder) []byte { r := d.auditRecord(); return r.append(nil) })
		decode(func(d *decoder) []byte { c := d.cluster(); return c.append(nil) })
		decode(func(d *decoder) []byte { v := d.byteCap(); return v.append(nil) })
		decode(func(d *decoder) []byte { return d.settings().append(nil) })
		_ = scanBlock(firstBlock, seal(bucketChannels, firstBlock, bytes.Clone(body)), func(channel, body []byte) bool {
			h, tail, err := decodeChannel(channel, body)
			if err != nil {
				return true
			}
			s, err := decodeTail(channel, h, tail)
			if err != nil {
				return true
			}
			back, err := decodeTail(channel, h, appendTail(nil, s.messages))
			if err != nil || !reflect.DeepEqual(back, s) {
				t.Errorf("tail came back with %v", err)
			}
			return true
		})
		value := seal(bucketChunks, key, bytes.Clone(body))
		s, err := decodeChunk(key, value)
		if err != nil {
			return
		}
		again, _ := s.chunk(key)
		if back, err := decodeChunk(key, again); err != nil || !reflect.DeepEqual(back.messages, s.messages) {
			t.Errorf("chunk came back with %v", err)
		}
	})
}

package fsm

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func sampleBlock() []entry {
	h := head{offset: 9, total: 20, size: 2, stamp: start, floor: 1, version: 1}
	return []entry{
		{appendChannelKey(nil, ChannelKey{"p1", "a"}), appendTail(h.append(nil), nil)},
		{
			appendChannelKey(nil, ChannelKey{"p1", "ab"}),
			appendTail(h.append(nil), []Message{{8, start - 1, []byte("x")}, {9, start, []byte("yz")}}),
		},
		{appendChannelKey(nil, ChannelKey{"p2", "a"}), appendTail(h.append(nil), []Message{{9, start, nil}})},
	}
}

func TestBlocksComeBack(t *testing.T) {
	want := sampleBlock()
	value := seal(bucketChannels, firstBlock, appendEntries(nil, want))
	var got []entry
	collect := func(channel, body []byte) bool {
		got = append(got, entry{bytes.Clone(channel), body})
		return true
	}
	if err := scanBlock(firstBlock, value, collect); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want,
		func(a, b entry) bool { return bytes.Equal(a.key, b.key) && bytes.Equal(a.body, b.body) }) {
		t.Errorf("got %q, want %q", got, want)
	}
	for n := range value {
		if err := scanBlock(firstBlock, value[:n], collect); !errors.Is(err, errCorrupt) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
}

func TestTruncatedChannelsAreErrors(t *testing.T) {
	body := sampleBlock()[1].body
	for n := range body {
		h, tail, err := decodeChannel(nil, body[:n])
		if err == nil {
			_, err = decodeTail(nil, h, tail)
		}
		if !errors.Is(err, errCorrupt) {
			t.Errorf("the first %d of %d bytes are a channel: %v", n, len(body), err)
		}
	}
}

// blockSizes returns the sizes of the stored blocks and how many channels each has.
func (m *machine) blockSizes() (sizes, channels []int) {
	m.t.Helper()
	err := m.db.View(func(tx *bolt.Tx) error {
		if err := verifyChannels(tx, func(segment) {}); err != nil {
			return err
		}
		return tx.Bucket(bucketChannels).ForEach(func(key, value []byte) error {
			n := 0
			err := scanBlock(key, value, func(channel, _ []byte) bool {
				if bytes.Compare(channel, key) < 0 {
					m.t.Errorf("channel %q is in block %q", channel, key)
				}
				n++
				return true
			})
			sizes, channels = append(sizes, len(value)), append(channels, n)
			return err
		})
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return sizes, channels
}

func TestBlocksAreBoundedAndFull(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	total := 0
	for n := range 3000 {
		data := strings.Repeat("x", n%200)
		m.publish(0, ChannelKey{projectID, fmt.Sprint(n * 7919 % 3000)}, data)
		total += len(data)
		if n%300 == 0 {
			m.flushed()
		}
	}
	m.flushed()
	sizes, channels := m.blockSizes()
	for i, size := range sizes {
		if size > blockBytes && channels[i] > 1 {
			t.Errorf("a block of %d channels has %d bytes", channels[i], size)
		}
	}
	if most := 2 * total / blockBytes; len(sizes) > 2*most {
		t.Errorf("%d blocks for %d bytes", len(sizes), total)
	}
}

// Projects that are deleted together take whole pages with them.
func TestManyChannelsArePurged(t *testing.T) {
	for _, kept := range []string{"", "p0", "p9"} {
		m := openMachine(t, t.TempDir(), lazy)
		for _, id := range []string{"p0", "p1", "p2", "p9"} {
			m.must(CreateProject{Project: Project{ID: id}}.Encode())
		}
		if kept != "" {
			m.publish(0, ChannelKey{kept, "a"}, "1")
		}
		for n := range 2000 {
			m.publish(0, ChannelKey{"p1", fmt.Sprint(n)}, strings.Repeat("x", 500))
			m.publish(0, ChannelKey{"p2", fmt.Sprint(n)}, strings.Repeat("x", 500))
		}
		m.flushed()
		m.must(DeleteProject{ID: "p1"}.Encode(), DeleteProject{ID: "p2"}.Encode())
		purged := func() bool {
			m.mu.RLock()
			defer m.mu.RUnlock()
			return m.registry.tombstones["p1"] && m.registry.tombstones["p2"]
		}
		for deadline := time.Now().Add(10 * time.Second); !purged(); m.flushed() {
			if time.Now().After(deadline) {
				t.Fatal("the projects are not purged")
			}
			m.tick(sweepPause)
		}
		_, channels := m.blockSizes()
		total := 0
		for _, n := range channels {
			total += n
		}
		if want := min(len(kept), 1); total != want {
			t.Errorf("%d channels are stored, want %d", total, want)
		}
		if kept != "" {
			if got := m.read(ChannelKey{kept, "a"}, 0); got != "1" {
				t.Errorf("read %q of project %s", got, kept)
			}
		}
	}
}

// channelModel says in the plainest way what channels there are.
type channelModel map[ChannelKey][]string

func (want channelModel) check(t *rapid.T, m *machine, projects []string) {
	for _, project := range projects {
		var names []string
		for key := range want {
			if key.Project == project {
				names = append(names, key.Name)
			}
		}
		slices.Sort(names)
		after := ""
		if len(names) > 0 && rapid.Bool().Draw(t, "from the middle") {
			after = names[rapid.IntRange(0, len(names)-1).Draw(t, "after")]
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name <= after })
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		infos, err := m.Channels(project, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		names = names[:min(limit, len(names))]
		for i, info := range infos {
			if i >= len(names) || info.Name != names[i] || info.Head != uint64(len(want[ChannelKey{project, info.Name}])) {
				t.Fatalf("project %s from %q on: %+v, want %q", project, after, infos, names)
			}
		}
		if len(infos) != len(names) {
			t.Fatalf("project %s from %q on: %d channels, want %q", project, after, len(infos), names)
		}
	}
	keys := slices.SortedFunc(maps.Keys(want), func(a, b ChannelKey) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Name, b.Name))
	})
	for range min(10, len(keys)) {
		key := rapid.SampledFrom(keys).Draw(t, "channel")
		if got := m.read(key, 0); got != strings.Join(want[key], " ") {
			t.Fatalf("channel %v holds %.100q, want %.100q", key, got, want[key])
		}
	}
}

func TestChannelsAreWhatWasPublished(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		m := openMachine(t, dir, lazy, panics)
		defer func() { _ = m.Close() }()
		// One project's id begins as the other's does.
		projects := []string{"p1", "p10", "p2"}
		for _, id := range projects {
			m.must(CreateProject{Project: Project{ID: id}}.Encode())
		}
		want := channelModel{}
		name := rapid.StringMatching(`[ab]{1,8}`)
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				project := rapid.SampledFrom(projects).Draw(rt, "project")
				data := strings.Repeat("x", rapid.SampledFrom([]int{1, 30, 300, 2000}).Draw(rt, "size"))
				for range rapid.IntRange(1, 60).Draw(rt, "channels") {
					key := ChannelKey{project, name.Draw(rt, "name")}
					m.publish(0, key, data)
					want[key] = append(want[key], data)
				}
			},
			"delete": func(rt *rapid.T) {
				if len(projects) == 1 || rapid.IntRange(0, 9).Draw(rt, "really") > 0 {
					return
				}
				i := rapid.IntRange(0, len(projects)-1).Draw(rt, "project")
				m.must(DeleteProject{ID: projects[i]}.Encode())
				maps.DeleteFunc(want, func(key ChannelKey, _ []string) bool { return key.Project == projects[i] })
				projects = slices.Delete(projects, i, i+1)
			},
			"flush": func(*rapid.T) { m.flushed() },
			"evict": func(*rapid.T) { m.flushed(); m.evictAll() },
			"reopen": func(*rapid.T) {
				if err := m.Close(); err != nil {
					rt.Fatal(err)
				}
				m = openMachine(t, dir, lazy, panics)
			},
			"": func(rt *rapid.T) { want.check(rt, m, projects) },
		})
		m.flushed()
		m.blockSizes()
	})
}

// Whatever a reader was asked for before, it finds what one finds that is new.
func TestBlockReaderFindsWhereverItWas(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	const channels = 300
	name := func(n int) ChannelKey { return ChannelKey{projectID, fmt.Sprintf("c%04d", n)} }
	for n := range channels {
		m.publish(0, name(2*n), strings.Repeat("x", n%200))
	}
	m.flushed()
	tx, err := m.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer rollback(tx)
	bucket := tx.Bucket(bucketChannels)
	if blocks := bucket.Stats().KeyN; blocks < 10 {
		t.Fatalf("only %d blocks", blocks)
	}
	rapid.Check(t, func(t *rapid.T) {
		reader := blockReader{cursor: bucket.Cursor()}
		n := 0
		for range 50 {
			n = rapid.OneOf(rapid.Just(n+1), rapid.Just(n+2), rapid.IntRange(-1, 2*channels)).Draw(t, "channel")
			key := appendChannelKey(nil, name(max(n, 0)))
			if n < 0 {
				key = appendChannelKey(nil, ChannelKey{projectID, "a"}) // before all
			}
			body, stored, err := reader.find(key)
			if err != nil {
				t.Fatal(err)
			}
			if want := n >= 0 && n%2 == 0 && n < 2*channels; stored != want {
				t.Fatalf("channel %q is stored: %t, want %t", key, stored, want)
			}
			fresh := blockReader{cursor: bucket.Cursor()}
			if want, _, err := fresh.find(key); err != nil || !bytes.Equal(body, want) {
				t.Fatalf("channel %q is %q, want %q, %v", key, body, want, err)
			}
		}
	})
}

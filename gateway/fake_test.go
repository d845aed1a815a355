package gateway

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// fakeBroker is a cluster of one in memory. Commits are applied by one
// goroutine, as a real node does, which tells the observer.
type fakeBroker struct {
	commits chan func()
	done    sync.WaitGroup

	judged atomic.Int64 // credentials that were looked at

	mu        sync.Mutex
	observer  fsm.Observer
	epoch     string
	keys      map[string]fsm.Key // by text
	projects  map[string]*fsm.Project
	admins    map[string]fsm.AdminToken // by text
	audit     []fsm.AuditRecord
	channels  map[fsm.ChannelKey]*fakeChannel
	staleness time.Duration
	stalled   string
	obstacle  string
	settings  fsm.Settings
	clock     int64
	nextID    int
	used      []string // ids of keys
	endpoints []string
	replaced  int // on other nodes

	catchUp func(ctx context.Context) error // nil: at once

	readYourWrites func(ctx context.Context) error // nil: at once
	catchUps       int
	attend         func(channels []fsm.ChannelKey, then func()) bool // nil: at once
	ignored        []fsm.ChannelKey
	publishErr     error
	batches        []int         // how many messages each call of Publish brought
	holdAcks       chan struct{} // when set, acknowledgements wait for it to close
	channelErr     error
	noteErr        error
	createErr      error // of admin tokens, as the next
	revokeErr      error
	removed        []string // members

	// Called between a look into a channel and its answer.
	channelHook func()
	readHook    func(key fsm.ChannelKey) error
}

type fakeChannel struct {
	messages []fsm.Message // retained
	head     uint64
	ids      map[string]fsm.Receipt
}

func (b *fakeBroker) MembersChanged() {}

func (b *fakeBroker) AwaitMembers(uint64, func()) bool { return false }

const adminToken = "admin-token-of-the-tests"

func newFakeBroker() *fakeBroker {
	b := &fakeBroker{
		commits:  make(chan func(), 1<<16),
		epoch:    "epoch-1",
		keys:     make(map[string]fsm.Key),
		projects: make(map[string]*fsm.Project),
		admins:   map[string]fsm.AdminToken{adminToken: {ID: fsm.FirstAdminToken, Name: "first", Role: fsm.Owner}},
		channels: make(map[fsm.ChannelKey]*fakeChannel),
		clock:    1_764_000_000_000,
	}
	b.done.Go(func() {
		for commit := range b.commits {
			commit()
		}
	})
	return b
}

func (b *fakeBroker) close() {
	close(b.commits)
	b.done.Wait()
}

func (b *fakeBroker) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *fakeBroker) id(kind string) string {
	b.nextID++
	return fmt.Sprintf("%s-%03d", kind, b.nextID)
}

// addKey makes a key of a project known and returns its text.
func (b *fakeBroker) addKey(project string, kind fsm.KeyKind) string {
	text := auth.NewKeyText(kind)
	b.set(func() { b.putKey(project, kind, "test", text) })
	return text
}

func (b *fakeBroker) putKey(project string, kind fsm.KeyKind, name, text string) fsm.Key {
	key := fsm.Key{
		ID: b.id("key"), Project: project, Kind: kind, Name: name, Prefix: text[:8],
		Hash: fsm.HashKey(text), CreatedAt: b.clock,
	}
	if kind == fsm.PublicKey {
		key.Text = text
	}
	b.keys[text] = key
	return key
}

func (b *fakeBroker) endKey(text string) {
	b.mu.Lock()
	key := b.keys[text]
	delete(b.keys, text)
	observer := b.observer
	b.mu.Unlock()
	observer.KeyEnded(key)
}

func (b *fakeBroker) channel(key fsm.ChannelKey) *fakeChannel {
	c := b.channels[key]
	if c == nil {
		c = &fakeChannel{ids: make(map[string]fsm.Receipt)}
		b.channels[key] = c
	}
	return c
}

// append commits messages to a channel and returns when observers were told.
func (b *fakeBroker) append(key fsm.ChannelKey, data ...string) {
	told := make(chan struct{})
	b.commits <- func() {
		defer close(told)
		var batch fsm.Appended
		batch.Channel = key
		b.mu.Lock()
		for _, d := range data {
			batch.Messages = append(batch.Messages, b.put(key, "", []byte(d)))
		}
		observer := b.observer
		b.mu.Unlock()
		observer.Appended([]fsm.Appended{batch})
	}
	<-told
}

func (b *fakeBroker) put(key fsm.ChannelKey, id string, data []byte) fsm.Message {
	c := b.channel(key)
	c.head++
	b.clock++
	m := fsm.Message{Offset: c.head, Timestamp: b.clock, Data: data}
	c.messages = append(c.messages, m)
	if id != "" {
		c.ids[id] = fsm.Receipt{Offset: m.Offset, Timestamp: m.Timestamp, Duplicate: true}
	}
	return m
}

// trim forgets the messages of a channel before an offset.
func (b *fakeBroker) trim(key fsm.ChannelKey, earliest uint64) {
	b.set(func() {
		c := b.channel(key)
		c.messages = slices.DeleteFunc(c.messages, func(m fsm.Message) bool { return m.Offset < earliest })
	})
}

func (c *fakeChannel) earliest() uint64 {
	if len(c.messages) == 0 {
		return c.head + 1
	}
	return c.messages[0].Offset
}

func (b *fakeBroker) NodeName() string { return "node-under-test" }

func (b *fakeBroker) Endpoints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.endpoints
}

func (b *fakeBroker) Replace(context.Context, Replacement) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replaced
}

func (b *fakeBroker) Epoch() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch
}

func (b *fakeBroker) Key(text string) (fsm.Key, bool) {
	defer b.judged.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	key, found := b.keys[text]
	return key, found
}

func (b *fakeBroker) HasImportedKeys() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.keys {
		if k.Imported {
			return true
		}
	}
	return false
}

func (b *fakeBroker) Project(id string) (*fsm.Project, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, found := b.projects[id]
	return p, found
}

func (b *fakeBroker) Staleness() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.staleness
}

func (b *fakeBroker) Obstacle() (reason string, lasting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.obstacle, strings.HasPrefix(b.obstacle, "no majority")
}

func (b *fakeBroker) Stalled() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stalled
}

func (b *fakeBroker) ReadYourWrites(ctx context.Context) error {
	b.mu.Lock()
	read := b.readYourWrites
	b.mu.Unlock()
	if read == nil {
		return nil
	}
	return read(ctx)
}

func (b *fakeBroker) CatchUp(ctx context.Context) error {
	b.mu.Lock()
	b.catchUps++
	catchUp := b.catchUp
	b.mu.Unlock()
	if catchUp == nil {
		return nil
	}
	return catchUp(ctx)
}

// rounds is how often the leader was asked.
func (b *fakeBroker) rounds() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.catchUps
}

func (b *fakeBroker) AddInterest(channels []fsm.ChannelKey, then func()) bool {
	b.mu.Lock()
	attend := b.attend
	b.mu.Unlock()
	return attend != nil && attend(channels, then)
}

func (b *fakeBroker) DropInterest(channel fsm.ChannelKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ignored = append(b.ignored, channel)
}

func (b *fakeBroker) Publish(batch []fsm.Publish, done func(int, fsm.Receipt, error)) {
	b.set(func() { b.batches = append(b.batches, len(batch)) })
	for i, p := range batch {
		p.Data = bytes.Clone(p.Data)
		b.publish(p, func(r fsm.Receipt, err error) { done(i, r, err) })
	}
}

func (b *fakeBroker) publish(p fsm.Publish, done func(fsm.Receipt, error)) {
	b.commits <- func() {
		if err := b.Alive(p.From); err != nil { // the state judges too
			done(fsm.Receipt{}, err)
			return
		}
		b.mu.Lock()
		if b.publishErr != nil {
			err := b.publishErr
			b.mu.Unlock()
			done(fsm.Receipt{}, err)
			return
		}
		observer, hold := b.observer, b.holdAcks
		if receipt, seen := b.channel(p.Channel).ids[p.ID]; seen && p.ID != "" {
			b.mu.Unlock()
			done(receipt, nil)
			return
		}
		if project := b.projects[p.Channel.Project]; project.Rule(p.Channel.Name).Durability == fsm.DurabilityMemory {
			stamp := b.clock
			b.mu.Unlock()
			observer.(*Server).Transient([]fsm.Appended{{
				Channel:  p.Channel,
				Messages: []fsm.Message{{Timestamp: stamp, Data: p.Data}},
			}})
			done(fsm.Receipt{Timestamp: stamp}, nil)
			return
		}
		m := b.put(p.Channel, p.ID, p.Data)
		b.mu.Unlock()
		observer.Appended([]fsm.Appended{{Channel: p.Channel, Messages: []fsm.Message{m}}})
		if hold != nil {
			b.done.Go(func() {
				<-hold
				done(fsm.Receipt{Offset: m.Offset, Timestamp: m.Timestamp}, nil)
			})
			return
		}
		done(fsm.Receipt{Offset: m.Offset, Timestamp: m.Timestamp}, nil)
	}
}

func (b *fakeBroker) Channel(_ context.Context, key fsm.ChannelKey) (fsm.ChannelInfo, error) {
	b.mu.Lock()
	hook, err := b.channelHook, b.channelErr
	info := fsm.ChannelInfo{Name: key.Name, Earliest: 1}
	if c, found := b.channels[key]; found {
		info.Head, info.Earliest = c.head, c.earliest()
	}
	b.mu.Unlock()
	if hook != nil {
		hook()
	}
	return info, err
}

func (b *fakeBroker) Read(_ context.Context, key fsm.ChannelKey, after uint64, maxMessages, maxBytes int) (fsm.Page,
	error,
) {
	b.mu.Lock()
	hook, page := b.readHook, b.page(key, after, maxMessages, maxBytes)
	b.mu.Unlock()
	if hook != nil {
		if err := hook(key); err != nil {
			return fsm.Page{}, err
		}
	}
	return page, nil
}

// page is called with the lock held.
func (b *fakeBroker) page(key fsm.ChannelKey, after uint64, maxMessages, maxBytes int) fsm.Page {
	c := b.channel(key)
	page := fsm.Page{Head: c.head, Earliest: c.earliest()}
	at, _ := slices.BinarySearchFunc(c.messages, after+1, func(m fsm.Message, offset uint64) int {
		return cmp.Compare(m.Offset, offset)
	})
	size := 0
	for _, m := range c.messages[at:] {
		if len(page.Messages) == maxMessages || len(page.Messages) > 0 && size+len(m.Data) > maxBytes {
			break
		}
		size += len(m.Data)
		page.Messages = append(page.Messages, m)
	}
	return page
}

func (b *fakeBroker) OffsetAt(_ context.Context, key fsm.ChannelKey, t int64) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.channel(key)
	for _, m := range c.messages {
		if m.Timestamp >= t {
			return m.Offset, nil
		}
	}
	return c.head + 1, nil
}

func (b *fakeBroker) PurgeChannel(_ context.Context, by fsm.Actor, key fsm.ChannelKey) (admin.Purged, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, found := b.channels[key]
	if !found {
		return admin.Purged{}, refusal.New(refusal.NotFound, "no such channel")
	}
	purged := admin.Purged{Messages: uint64(len(c.messages)), Offset: c.head}
	c.messages = nil
	b.record(by, "channel.purge", key.Project+"/"+key.Name)
	return purged, nil
}

func (b *fakeBroker) ForgetChannel(ctx context.Context, by fsm.Actor, key fsm.ChannelKey) (admin.Purged, error) {
	purged, err := b.PurgeChannel(ctx, by, key)
	b.set(func() { delete(b.channels, key) })
	return purged, err
}

func (b *fakeBroker) ForgetChannels(_ context.Context, by fsm.Actor, project, prefix string) (int, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.channels)
	maps.DeleteFunc(b.channels, func(key fsm.ChannelKey, _ *fakeChannel) bool {
		return key.Project == project && strings.HasPrefix(key.Name, prefix)
	})
	b.record(by, "channel.forget", project+"/"+prefix)
	return before - len(b.channels), false, nil
}

// SigningSecret is "ss_" and the id of the key.
func (b *fakeBroker) SigningSecret(keyID string) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, key, found := b.byID(keyID)
	return []byte("ss_" + keyID), found && key.Kind == fsm.ServerKey
}

func (b *fakeBroker) ConsoleSecret() []byte { return []byte("the secret of console tokens") }

func (b *fakeBroker) Channels(_ context.Context, q admin.ChannelQuery) ([]admin.ChannelStatus, error) {
	counts := b.observer.(*Server).Subscribers(q.Project) // before mu is held: the loops that it asks may wait for mu
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []admin.ChannelStatus
	for key, c := range b.channels {
		if key.Project == q.Project && key.Name > q.Cursor && strings.HasPrefix(key.Name, q.Prefix) &&
			(!q.Active || counts[key.Name] > 0) {
			found = append(found, admin.ChannelStatus{
				ChannelInfo: fsm.ChannelInfo{Name: key.Name, Head: c.head, Earliest: c.earliest()}, Subscribers: counts[key.Name],
			})
		}
	}
	slices.SortFunc(found, func(a, b admin.ChannelStatus) int { return cmp.Compare(a.Name, b.Name) })
	return found[:min(q.Limit, len(found))], nil
}

func (b *fakeBroker) History(context.Context, int) (admin.History, error) {
	steps := []admin.Reading{1, admin.Reading(math.NaN())}
	return admin.History{StepSeconds: 10, Series: admin.HistorySeries{
		Connections: steps, Publishes: steps, Deliveries: steps, LatencyP50: steps, LatencyP99: steps, BytesOut: steps,
		Refusals: steps,
	}}, nil
}

func (b *fakeBroker) ProjectUsage(context.Context, string, admin.UsageStep) ([]fsm.UsagePeriod, error) {
	return []fsm.UsagePeriod{{At: 3_600_000, Usage: fsm.Usage{Connections: 1, Publishes: 2}}}, nil
}

func (b *fakeBroker) DayUsage(string) fsm.Usage { return fsm.Usage{Publishes: 2} }

func (b *fakeBroker) KeyConnections(_ context.Context, project string) (map[string]int, error) {
	return b.observer.(*Server).KeyConnections(project), nil
}

func (b *fakeBroker) Connections(_ context.Context, q admin.ConnectionQuery) ([]admin.ConnectionStatus, error) {
	return b.observer.(*Server).Connections(q), nil
}

func (b *fakeBroker) Diagnose(context.Context) ([]admin.Finding, error) {
	return []admin.Finding{{Node: "n1", Check: "clock", OK: true, Text: "n1 is on time"}}, nil
}

func (b *fakeBroker) Backup(context.Context) (io.ReadCloser, int64, error) {
	const everything = `{"everything":true}`
	return io.NopCloser(strings.NewReader(everything)), int64(len(everything)), nil
}

func (b *fakeBroker) RemoveMember(_ context.Context, name string) error {
	if name != "n2" {
		return refusal.New(refusal.NotFound, "no member has that name")
	}
	b.set(func() { b.removed = append(b.removed, name) })
	return nil
}

func (b *fakeBroker) Status(context.Context) (admin.Status, error) {
	return admin.Status{
		Node: b.NodeName(), Version: "test", Quorum: admin.Quorum{Missing: []string{}},
		Leader: b.NodeName(), Term: 1, Members: []admin.MemberStatus{{
			Name: b.NodeName(), State: "alive", Voter: true,
			Leader: true,
		}},
	}, nil
}

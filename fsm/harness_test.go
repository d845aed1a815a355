package fsm

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// start is the stamp that tests begin at.
const start = int64(1_764_000_000_000)

// machine is a State as a test drives it: as the one who applies, with one
// forwarder session.
type machine struct {
	*State
	t       testing.TB
	index   uint64
	stamp   int64
	seq     uint64
	session [16]byte
}

// lazy keeps the flusher from flushing on its own account.
func lazy(c *Config) { c.FlushEvery, c.FlushBytes = time.Hour, 1<<40 }

// panics lets rapid see, and shrink, what was fatal.
func panics(c *Config) { c.Fatal = func(err error) { panic(err) } }

// openMachine opens the state in dir; a Fatal that the test does not expect
// fails it.
func openMachine(t testing.TB, dir string, options ...func(*Config)) *machine {
	t.Helper()
	cfg := Config{
		Dir:    dir,
		Logger: slog.New(slog.DiscardHandler),
		Fatal: func(err error) {
			t.Errorf("fatal: %v", err)
			runtime.Goexit()
		},
	}
	for _, o := range options {
		o(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{State: s, t: t, stamp: max(start, s.Stamp()), session: [16]byte{1}}
	m.index, _ = s.Applied()
	if known := s.sessions.byID[m.session]; known != nil {
		m.seq = known.last
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// entry applies commands in one batch in one entry, ms after the one before.
func (m *machine) entry(ms int64, commands ...[]byte) [][]byte {
	m.t.Helper()
	m.stamp += ms
	m.index++
	m.BeginEntry(m.index, 1, m.stamp)
	var results [][]byte
	if len(commands) > 0 {
		if m.sessions.byID[m.session] == nil {
			m.seq = 0
		}
		m.seq++
		var next uint64
		results, next = m.ApplyBatch(m.session, m.seq, m.seq-1, commands)
		if next != m.seq+1 {
			m.t.Fatalf("batch %d was not applied: the state expects %d", m.seq, next)
		}
	}
	m.Notify()
	return results
}

// tick lets time pass.
func (m *machine) tick(ms int64) { m.entry(ms) }

// must applies control commands that have to work.
func (m *machine) must(commands ...[]byte) {
	m.t.Helper()
	for i, r := range m.entry(1, commands...) {
		if err := DecodeResult(r); err != nil {
			m.t.Fatalf("command %d: %v", i, err)
		}
	}
}

// publish publishes messages to a channel in one entry.
func (m *machine) publish(ms int64, channel ChannelKey, data ...string) []Receipt {
	m.t.Helper()
	var commands [][]byte
	for _, d := range data {
		commands = append(commands, Publish{Channel: channel, Data: []byte(d)}.Encode())
	}
	var receipts []Receipt
	for _, r := range m.entry(ms, commands...) {
		receipt, err := DecodeReceipt(r)
		if err != nil {
			m.t.Fatal(err)
		}
		receipts = append(receipts, receipt)
	}
	return receipts
}

func (m *machine) flushed() {
	m.t.Helper()
	if err := m.Flush(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) hash() [32]byte {
	m.t.Helper()
	sum, err := m.Hash()
	if err != nil {
		m.t.Fatal(err)
	}
	return sum
}

// kill closes the state without flushing, as a crash would.
func (m *machine) kill() {
	m.t.Helper()
	m.mu.Lock()
	m.failed = ErrClosed
	m.mu.Unlock()
	if err := m.Close(); err != nil {
		m.t.Fatal(err)
	}
}

// read returns the payloads after an offset, joined by a space.
func (m *machine) read(channel ChannelKey, after uint64) string {
	m.t.Helper()
	page, err := m.Read(channel, after, 1<<20, 1<<30)
	if err != nil {
		m.t.Fatal(err)
	}
	want := max(after+1, page.Earliest)
	var data []string
	for i, msg := range page.Messages {
		if msg.Offset != want+uint64(i) {
			m.t.Fatalf("message %d has offset %d, want %d", i, msg.Offset, want+uint64(i))
		}
		data = append(data, string(msg.Data))
	}
	if last := want + uint64(len(data)); last <= page.Head {
		m.t.Fatalf("page ends before %d, the head is %d", last, page.Head)
	}
	return strings.Join(data, " ")
}

func (m *machine) info(channel ChannelKey) ChannelInfo {
	m.t.Helper()
	info, err := m.Channel(channel)
	if err != nil {
		m.t.Fatal(err)
	}
	return info
}

// expectFatal runs fn, which must end in a call of Fatal of a State that was
// configured with f, and returns the error it was called with.
func expectFatal(t testing.TB, f *fatalities, fn func()) error {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		t.Fatal("nothing was fatal")
	}
	return f.err
}

// damagedMachine returns a machine with a damaged record in a bucket of its file.
func damagedMachine(t *testing.T, bucket []byte) (*machine, *fatalities) {
	t.Helper()
	f := &fatalities{}
	m := openMachine(t, t.TempDir(), lazy, f.configure)
	m.createProject()
	m.publish(1, news, long)
	m.flushed()
	m.alter(bucket, flip)
	return m, f
}

// fatalities keeps the first error that a State stopped for.
type fatalities struct {
	mu  sync.Mutex
	err error
}

func (f *fatalities) configure(c *Config) {
	c.Fatal = func(err error) {
		f.mu.Lock()
		if f.err == nil {
			f.err = err
		}
		f.mu.Unlock()
		runtime.Goexit()
	}
}

const projectID = "p1"

// long is a message that becomes a chunk at once.
var long = strings.Repeat("x", tailBytes)

var news = ChannelKey{projectID, "news"}

func newKey(id string, kind KeyKind) Key {
	text := fmt.Sprintf("%.2s_%s", kind, id)
	k := Key{ID: id, Project: projectID, Kind: kind, Name: id, Prefix: text, Hash: HashKey(text)}
	if kind == PublicKey {
		k.Text = text
	}
	return k
}

func keyText(k Key) string { return k.Prefix }

// createProject makes the project that tests use, under the rules given.
func (m *machine) createProject(rules ...Rule) {
	m.t.Helper()
	m.must(CreateProject{Project: Project{ID: projectID, Name: "one", Rules: rules}}.Encode())
}

package fsm

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func rule(messages int, keep time.Duration, bytes int64) Rule {
	return Rule{Pattern: "*", KeepMessages: messages, KeepFor: keep, KeepBytes: bytes}
}

func TestRetentionByCount(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject(rule(3, time.Hour, 0))
	m.publish(1, news, "1", "2", "3")
	if got := m.read(news, 0); got != "1 2 3" {
		t.Errorf("read %s", got)
	}
	m.publish(1, news, "4")
	m.flushed()
	if got, want := m.info(news), (ChannelInfo{"news", 4, 2, 3}); got != want {
		t.Errorf("info %+v, want %+v", got, want)
	}
	if got := m.read(news, 0); got != "2 3 4" {
		t.Errorf("read %s", got)
	}
}

func TestRetentionByAgeEndsToTheMillisecond(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject(rule(10, time.Second, 0))
	m.publish(1, news, "1")
	m.publish(10, news, "2")
	m.tick(989)
	if got := m.info(news).Earliest; got != 1 {
		t.Errorf("at 999 ms of age earliest is %d", got)
	}
	m.tick(1)
	if got := m.info(news).Earliest; got != 2 {
		t.Errorf("at 1000 ms of age earliest is %d", got)
	}
	m.tick(10)
	if got, want := m.info(news), (ChannelInfo{"news", 2, 3, 0}); got != want {
		t.Errorf("expired channel %+v, want %+v", got, want)
	}
	if got := m.publish(1, news, "3")[0].Offset; got != 3 {
		t.Errorf("offsets went on with %d", got)
	}
}

func TestRetentionByBytes(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject(rule(10, time.Hour, 6))
	m.publish(1, news, "111", "22", "333")
	if got, want := m.info(news), (ChannelInfo{"news", 3, 2, 5}); got != want {
		t.Errorf("info %+v, want %+v", got, want)
	}
	m.publish(1, news, "7777777")
	if got, want := m.info(news), (ChannelInfo{"news", 4, 5, 0}); got != want {
		t.Errorf("after a message above the bound %+v, want %+v", got, want)
	}
}

func TestWiderRulesBringNothingBack(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject(rule(2, time.Hour, 0))
	m.publish(1, news, "1", "2", "3", "4")
	idle := ChannelKey{projectID, "idle"}
	m.publish(1, idle, "1", "2", "3", "4")
	rules := func(r Rule) { m.must(UpdateProject{ID: projectID, Rules: &[]Rule{r}}.Encode()) }
	rules(rule(100, time.Hour, 0))
	m.publish(1, news, "5")
	if got := m.read(news, 0); got != "3 4 5" {
		t.Errorf("read %s", got)
	}
	rules(rule(1, time.Hour, 0))
	rules(rule(100, time.Hour, 0))
	m.flushed()
	m.evictAll()
	if got := m.read(news, 0); got != "5" {
		t.Errorf("read %s", got)
	}
	if got := m.read(idle, 0); got != "4" {
		t.Errorf("idle channel: read %s", got)
	}
	want := m.hash()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if m.hash() != want {
		t.Error("another state after opening again")
	}
	m.publish(1, idle, "5")
	if got := m.read(idle, 0); got != "4 5" {
		t.Errorf("idle channel: read %s", got)
	}
}

func TestPastRulesAreDroppedOnceMoot(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject(rule(2, time.Hour, 0))
	change := func(messages int) error {
		r := []Rule{rule(messages, time.Hour, 0)}
		return DecodeResult(m.entry(1, UpdateProject{ID: projectID, Rules: &r}.Encode())[0])
	}
	for i := range maxPastRules {
		if err := change(i); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	if err := change(1); err == nil {
		t.Fatal("past rules without bound")
	}
	// The rule that is implied at the end keeps for 24 hours.
	m.tick(DefaultRule.KeepFor.Milliseconds())
	if err := change(1); err != nil {
		t.Fatal(err)
	}
	p, _ := m.registry.project(projectID)
	if n := len(p.past); n > 1 {
		t.Errorf("%d past rules are left", n)
	}
}

// chunks counts the chunks in the state file.
func (m *machine) chunks() (n int) {
	m.t.Helper()
	err := m.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketChunks).ForEach(func(_, _ []byte) error { n++; return nil })
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// tails counts the channels in the state file that have one.
func (m *machine) tails() (n int) {
	m.t.Helper()
	err := m.db.View(func(tx *bolt.Tx) error {
		return eachChannel(tx, firstBlock, func(key, body []byte) bool {
			_, tail, err := decodeChannel(key, body)
			if err != nil {
				m.t.Fatal(err)
			}
			if tailCount(tail) > 0 {
				n++
			}
			return true
		})
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

func TestSweepDeletesWhatNobodyTouches(t *testing.T) {
	for _, data := range []string{"1", long} {
		m := openMachine(t, t.TempDir(), lazy)
		m.createProject(rule(1000, time.Minute, 0))
		for c := range 50 {
			m.publish(0, ChannelKey{projectID, fmt.Sprint(c)}, data)
		}
		m.flushed()
		if n := m.chunks() + m.tails(); n != 50 {
			t.Fatalf("%d chunks and tails, want 50", n)
		}
		m.tick(30_000)
		m.publish(1, news, data)
		m.flushed()
		m.tick(30_000)
		deadline := time.Now().Add(10 * time.Second)
		for m.chunks()+m.tails() > 1 {
			if time.Now().After(deadline) {
				t.Fatalf("%d chunks and %d tails are left, want 1 of them", m.chunks(), m.tails())
			}
			m.tick(1)
			m.flushed()
		}
		if got := m.read(news, 0); got != data {
			t.Errorf("read %s", got)
		}
		if got, want := m.info(ChannelKey{projectID, "7"}), (ChannelInfo{"7", 1, 2, 0}); got != want {
			t.Errorf("info %+v, want %+v", got, want)
		}
	}
}

func TestFlushDeletesBehindABusyChannel(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject(rule(100, time.Hour, 0))
	for range 40 {
		m.publish(0, news, strings.Fields(strings.Repeat("x ", 50))...)
		m.flushed()
		if n := m.chunks(); n > 6 {
			t.Fatalf("%d chunks of 50 messages are stored, 100 messages are kept", n)
		}
	}
	m.evictAll()
	if info := m.info(news); info.Earliest != 1901 {
		t.Errorf("info %+v", info)
	}
	m.read(news, 0)
}

// retentionModel says in the plainest way what is retained.
type retentionModel struct {
	stamp    int64
	rule     Rule
	messages []Message
	earliest uint64
}

func (r *retentionModel) settle() {
	var size int64
	earliest := uint64(len(r.messages)) + 1
	for i, m := range slices.Backward(r.messages) {

		size += int64(len(m.Data))
		if len(r.messages)-i > r.rule.KeepMessages ||
			m.Timestamp+r.rule.KeepFor.Milliseconds() <= r.stamp ||
			r.rule.KeepBytes > 0 && size > r.rule.KeepBytes {
			break
		}
		earliest = m.Offset
	}
	r.earliest = max(r.earliest, earliest)
}

func (r *retentionModel) check(t *rapid.T, m *machine) {
	info, err := m.Channel(news)
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, m := range r.messages[r.earliest-1:] {
		size += int64(len(m.Data))
	}
	want := ChannelInfo{news.Name, uint64(len(r.messages)), r.earliest, size}
	if info != want {
		t.Fatalf("channel %+v, want %+v (rule %+v)", info, want, r.rule)
	}
	page, err := m.Read(news, 0, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Messages) != len(r.messages)-int(r.earliest)+1 {
		t.Fatalf("%d messages retained, want %d", len(page.Messages), len(r.messages)-int(r.earliest)+1)
	}
	for i, got := range page.Messages {
		want := r.messages[int(r.earliest)-1+i]
		if got.Offset != want.Offset || got.Timestamp != want.Timestamp || string(got.Data) != string(want.Data) {
			t.Fatalf("message %v, want %v", got, want)
		}
	}
	at := r.stamp - rapid.Int64Range(0, 300).Draw(t, "age")
	wantAt := uint64(len(r.messages)) + 1
	for i := len(r.messages); i >= int(r.earliest) && r.messages[i-1].Timestamp >= at; i-- {
		wantAt = uint64(i)
	}
	if got, err := m.OffsetAt(news, at); err != nil || got != wantAt {
		t.Fatalf("offset at %d is %d, %v, want %d", at, got, err, wantAt)
	}
}

func TestRetentionIsWhatTheRuleSays(t *testing.T) {
	anyRule := rapid.Custom(func(t *rapid.T) Rule {
		return rule(rapid.IntRange(0, 400).Draw(t, "messages"),
			time.Duration(rapid.IntRange(0, 300).Draw(t, "ms"))*time.Millisecond,
			int64(rapid.IntRange(0, 600).Draw(t, "bytes")))
	})
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		m := openMachine(t, dir, lazy, panics)
		defer func() { _ = m.Close() }()
		model := retentionModel{rule: anyRule.Draw(rt, "rule"), earliest: 1}
		m.createProject(model.rule)
		model.stamp = m.stamp
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				var data []string
				for range rapid.IntRange(1, 300).Draw(rt, "messages") {
					data = append(data, strings.Repeat("x", 1+len(data)%3))
				}
				for i, r := range m.publish(rapid.Int64Range(0, 50).Draw(rt, "ms"), news, data...) {
					model.messages = append(model.messages, Message{r.Offset, r.Timestamp, []byte(data[i])})
				}
			},
			"wait":  func(rt *rapid.T) { m.tick(rapid.Int64Range(0, 200).Draw(rt, "ms")) },
			"flush": func(*rapid.T) { m.flushed() },
			"evict": func(*rapid.T) { m.flushed(); m.evictAll() },
			"rule": func(rt *rapid.T) {
				m.tick(1)
				model.stamp = m.stamp + 1
				model.settle()
				model.rule = anyRule.Draw(rt, "rule")
				m.must(UpdateProject{ID: projectID, Rules: &[]Rule{model.rule}}.Encode())
			},
			"reopen": func(*rapid.T) {
				if err := m.Close(); err != nil {
					rt.Fatal(err)
				}
				m = openMachine(t, dir, lazy, panics)
			},
			"": func(rt *rapid.T) {
				model.stamp = m.stamp
				model.settle()
				model.check(rt, m)
			},
		})
	})
}

package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestCheckKeepsOutWhatWouldStopEveryNode(t *testing.T) {
	long := sampleKey
	long.ID = strings.Repeat("k", 40_000) // more than a key of the state file may have
	kind := sampleKey
	kind.Kind = "golden"
	rules := []Rule{{Pattern: "*", KeepMessages: -1, Durability: DurabilityQuorum}}
	for name, command := range map[string][]byte{
		"nothing":                 nil,
		"one byte":                {byte(opPublish)},
		"an unknown op":           {200, controlVersion},
		"an unknown version":      {byte(opRevokeKey), 99},
		"a byte too many":         append(RevokeKey{sampleActor, "k"}.Encode(), 0),
		"a byte too few":          bytes.TrimSuffix(RevokeKey{sampleActor, "k"}.Encode(), []byte("k")),
		"a message of no JSON":    Publish{Channel: news, Data: []byte("{")}.Encode(),
		"a message of two values": Publish{Channel: news, Data: []byte("1 2")}.Encode(),
		"a message not in UTF-8":  Publish{Channel: news, Data: []byte("\"\xff\"")}.Encode(),
		"an empty message":        Publish{Channel: news}.Encode(),
		"a key with a long id":    CreateKey{sampleActor, long}.Encode(),
		"a key of no kind":        CreateKey{sampleActor, kind}.Encode(),
		"a use in the past":       KeysUsed{[]KeyUse{{"k", math.MinInt64}}}.Encode(),
		"a rule that keeps -1":    UpdateProject{By: sampleActor, ID: "p", Rules: &rules}.Encode(),
	} {
		if level, err := check(command, true); err == nil || level != 0 {
			t.Errorf("%s passes, level %d", name, level)
		}
	}
	for _, c := range sampleCommands() {
		command := c.Encode()
		if level, err := check(command, true); err != nil || level != LevelOf(command) {
			t.Errorf("%T: level %d, %v", c, level, err)
		}
	}
	if _, err := check(NoOp(), true); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// FuzzCheckedCommand: whatever passes Check can be applied and written by every node.
func FuzzCheckedCommand(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(c.Encode())
	}
	f.Add(Publish{Channel: news, ID: "id", Data: []byte("1")}.Encode())
	f.Add(Publish{Channel: ChannelKey{"p", strings.Repeat("x", 300)}, Data: []byte("1")}.Encode())
	m := openMachine(f, f.TempDir())
	m.createProject()
	f.Fuzz(func(t *testing.T, command []byte) {
		if _, err := check(command, true); err != nil {
			if !errors.Is(err, ErrInvalid) && err.Error() == "" {
				t.Errorf("refused without a reason: %v", err)
			}
			return
		}
		index, term := m.Applied()
		m.index = max(m.index, index)
		m.index++
		m.seq++
		m.BeginEntry(m.index, max(term, 1), m.Stamp()+1)
		if results, _ := m.ApplyBatch(m.session, m.seq, m.seq-1, [][]byte{command}); len(results) != 1 {
			t.Fatalf("%x stops the state", command)
		}
		m.Notify()
		if m.seq%64 == 0 {
			if err := m.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkCheckPublish(b *testing.B) {
	for _, foreign := range []bool{false, true} {
		const size = 100
		command := Publish{
			Channel: news, Data: []byte(`{"text":"` + strings.Repeat("x", size) + `"}`),
			From: Sender{Kind: KeySender, ID: "key_0123456789abcdef", Since: time.Now().UnixMilli()},
		}.Encode()
		b.Run(fmt.Sprintf("foreign=%t", foreign), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := check(command, foreign); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

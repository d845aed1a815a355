package fsm

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"
)

// control is any command but Publish.
type control interface{ Encode() []byte }

var (
	sampleKey = Key{"k", "p", PublicKey, "n", "pk_t", "pk_t", KeyHash{7}, 1, 2, "old"}
	sample    = Project{"p", "n", []string{"https://a.example"}, true,
		[]Rule{{"a*", 5, 2 * time.Second, 9, Initial{Last: 3}, DurabilityMemory}}, 4}
)

func sampleCommands() []control {
	name, origins, native, rules := "x", []string{"*"}, false, []Rule{DefaultRule}
	bytes := int64(1 << 30)
	return []control{
		&Init{"c", "e", KeyHash{1}, sample, []Key{sampleKey}},
		&CreateProject{sample, []Key{sampleKey, sampleKey}},
		&UpdateProject{"p", &name, &origins, &native, &rules},
		&UpdateProject{ID: "p"},
		&DeleteProject{"p"},
		&CreateKey{sampleKey},
		&RotateKey{sampleKey, 86_400_000},
		&RevokeKey{"k"},
		&UpdateSettings{&bytes},
		&UpdateSettings{},
	}
}

func TestCommandsComeBack(t *testing.T) {
	for _, want := range sampleCommands() {
		got, err := decodeCommand(want.Encode())
		if err != nil {
			t.Errorf("%T: %v", want, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %+v, want %+v", got, want)
		}
	}
	p, ok, err := decodePublish(Publish{news, "id", []byte(`{"a":1}`)}.Encode())
	if err != nil || !ok || string(p.project) != projectID || string(p.channel) != "news" || string(p.id) != "id" || string(p.data) != `{"a":1}` {
		t.Errorf("publish %q, %t, %v", p, ok, err)
	}
}

// What is in the Raft log of a running cluster must stay readable: a change of
// these bytes needs another version.
func TestCommandVersion1(t *testing.T) {
	const (
		project = "0170016e011168747470733a2f2f612e6578616d706c650101" + "02612a0aa01f120006066d656d6f7279" + "08"
		key     = "016b0170067075626c6963016e04706b5f7404706b5f74" +
			"0700000000000000000000000000000000000000000000000000000000000000" + "0204036f6c64"
	)
	samples := sampleCommands()
	for _, c := range []struct {
		command control
		want    string
	}{
		{Publish{ChannelKey{"p1", "a"}, "id", []byte("1234")}, "0101" + "027031" + "0161" + "026964" + "0431323334"},
		{samples[0], "0201" + "0163" + "0165" + "01" + strings.Repeat("00", 31) + project + "01" + key},
		{samples[1], "0301" + project + "02" + key + key},
		{samples[2], "0401" + "0170" + "010178" + "0101012a" + "0100" + "0101" + "012ad00f80f0b2520001000671756f72756d"},
		{samples[3], "0401" + "0170" + "00000000"},
		{DeleteProject{"p"}, "0501" + "0170"},
		{CreateKey{sampleKey}, "0601" + key},
		{RotateKey{sampleKey, 10}, "0701" + key + "14"},
		{RevokeKey{"k"}, "0801" + "016b"},
		{samples[8], "0901" + "01" + "8080808008"},
		{samples[9], "0901" + "00"},
	} {
		if got := hex.EncodeToString(c.command.Encode()); got != c.want {
			t.Errorf("%T is\n%s, was\n%s", c.command, got, c.want)
		}
	}
}

func TestUnknownCommandsAreErrors(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, {0, 1}, {99, 1}, {byte(opRevokeKey), 2, 0}, {byte(opPublish), 2}} {
		if _, ok, _ := decodePublish(b); ok {
			t.Errorf("% x is a publish", b)
		}
		if c, err := decodeCommand(b); err == nil {
			t.Errorf("% x is %T", b, c)
		}
	}
}

func TestTruncatedCommandsAreErrors(t *testing.T) {
	for _, c := range sampleCommands() {
		whole := c.Encode()
		for n := range whole {
			if _, err := decodeCommand(whole[:n]); err == nil {
				t.Errorf("%T: the first %d of %d bytes are a command", c, n, len(whole))
			}
		}
		if _, err := decodeCommand(append(whole, 0)); err == nil {
			t.Errorf("%T: a byte too many goes unseen", c)
		}
	}
	whole := Publish{news, "id", []byte("1234")}.Encode()
	for n := 2; n < len(whole); n++ {
		if _, _, err := decodePublish(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are a publish", n, len(whole))
		}
	}
}

func TestPublishAppendsInPlace(t *testing.T) {
	p := Publish{news, "id", make([]byte, 100)}
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { p.Append(buf) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	command := p.Append(buf)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = decodePublish(command) }); n != 0 {
		t.Errorf("decoding: %v allocations", n)
	}
}

func FuzzCommand(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(c.Encode())
	}
	f.Add(Publish{news, "id", []byte("1")}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok, err := decodePublish(b); ok && err == nil {
			again := Publish{ChannelKey{string(p.project), string(p.channel)}, string(p.id), p.data}.Encode()
			if q, _, err := decodePublish(again); err != nil || !reflect.DeepEqual(p, q) {
				t.Errorf("%q came back as %q, %v", p, q, err)
			}
			return
		}
		c, err := decodeCommand(b)
		if err != nil {
			return
		}
		again, err := decodeCommand(c.(control).Encode())
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%+v came back as %+v, %v", c, again, err)
		}
	})
}

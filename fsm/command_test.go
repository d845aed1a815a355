package fsm

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"
)

// control is any command but Publish.
type control interface{ Encode() []byte }

var (
	sampleSender = Sender{Kind: TokenSender, ID: "k", Until: 9, Subject: 7, Since: 5}
	sampleActor  = Actor{"t", "n", "a", "v", ""}
	sampleKey    = Key{"k", "p", ServerKey, "n", "pk_t", "pk_t", KeyHash{7}, 1, 2, 3, "old", []byte("s"), false}
	sampleRights = Access{Subscribe: []string{"a*"}, Publish: []PublishGrant{{"b", 1, 2}}}
	sample       = Project{
		"p", "n",
		[]string{"https://a.example"},
		true,
		[]Rule{{"a*", 5, 2 * time.Second, 9, Initial{Last: 3}, DurabilityMemory, Presence{}}},
		sampleRights,
		Quotas{1, 2, 3, 0, 0},
		4, 0,
	}
	sampleToken = AdminToken{"t", "n", Viewer, KeyHash{7}, 1, 2, 3, "p"}
)

func sampleCommands() []control {
	name, origins, native, rules := "x", []string{"*"}, false, []Rule{DefaultRule}
	bytes, first := int64(1<<30), uint64(300)
	imported := sampleKey
	imported.Imported = true
	none := Access{Subscribe: []string{}}
	withPresence := DefaultRule
	withPresence.Presence = Presence{10 * time.Second, 1000, 1024, true}
	return []control{
		&Init{sampleActor, "c", "e", KeyHash{1}, []byte("s"), sample, []Key{sampleKey}},
		&CreateProject{sampleActor, sample, []Key{sampleKey, sampleKey}},
		&UpdateProject{sampleActor, "p", &name, &origins, &native, &rules, &none, &Quotas{}, nil},
		&UpdateProject{ID: "p"},
		&DeleteProject{sampleActor, "p"},
		&CreateKey{sampleActor, sampleKey},
		&RotateKey{sampleActor, sampleKey, 5},
		&RevokeKey{sampleActor, "k"},
		&UpdateSettings{sampleActor, &bytes},
		&UpdateSettings{},
		&KeysUsed{[]KeyUse{{"k", 1}, {"t", 2}}},
		&CreateAdminToken{sampleActor, sampleToken},
		&RevokeAdminToken{sampleActor, "t"},
		&PurgeChannel{sampleActor, ChannelKey{"p", "c"}},
		&Seal{sampleActor, []byte("s")},
		&Note{sampleActor, "a", "t"},
		&Init{sampleActor, "c", "e", KeyHash{1}, []byte("s"), sample, []Key{sampleKey, imported}},
		&CreateKey{sampleActor, imported},
		&UpdateProject{By: sampleActor, ID: "p", FirstOffset: &first},
		&UpdateProject{By: sampleActor, ID: "p", Quotas: &Quotas{1, 2, 3, 4, 0}},
		&UpdateProject{By: sampleActor, ID: "p", Quotas: &Quotas{Subscriptions: 4}, FirstOffset: &first},
		&ForgetChannels{sampleActor, "p", []string{"a", "b"}},
		&AddUsage{[]ProjectUsage{{"p", Usage{1, 2, 3, 4, 300}}, {"q", Usage{}}}},
		&UpdateProject{By: sampleActor, ID: "p", Rules: &[]Rule{withPresence, DefaultRule}, FirstOffset: &first},
		&UpdateProject{
			By: sampleActor, ID: "p", Rules: &[]Rule{DefaultRule},
			Access: &Access{Presence: []string{"a"}, Members: []string{"b", "c"}}, Quotas: &Quotas{Subscriptions: 4, Members: 7},
		},
	}
}

func TestCommandsComeBack(t *testing.T) {
	for _, want := range sampleCommands() {
		_, got, err := decodeCommand(want.Encode())
		if err != nil {
			t.Errorf("%T: %v", want, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %+v, want %+v", got, want)
		}
	}
	p, ok, err := decodePublish(Publish{Channel: news, ID: "id", Data: []byte(`{"a":1}`)}.Encode(), new(senderCheck))
	if err != nil || !ok || string(p.project) != projectID || string(p.channel) != "news" || string(p.id) != "id" ||
		string(p.data) != `{"a":1}` {
		t.Errorf("publish %+v, %t, %v", p, ok, err)
	}
}

// What is in the Raft log of a running cluster must stay readable: a change of
// these bytes needs another version.
func TestCommandVersions(t *testing.T) {
	const (
		by      = "0174" + "016e" + "0161" + "0176"
		one     = "3ff0000000000000"
		rights  = "01" + "01" + "02612a" + "01" + "0162" + one + "04"
		project = "0170016e011168747470733a2f2f612e6578616d706c650101" + "02612a0aa01f120006066d656d6f7279" +
			rights + "0204" + "4008000000000000" + "08"
		hash     = "0700000000000000000000000000000000000000000000000000000000000000"
		defaults = "012ad00f80f0b2520001000671756f72756d"
		key      = "016b017006736572766572016e04706b5f7404706b5f74" + hash + "020406" + "036f6c64" + "0173"
	)
	samples := sampleCommands()
	for i, want := range []string{
		"0202" + by + "0163" + "0165" + "01" + strings.Repeat("00", 31) + "0173" + project + "01" + key,
		"0302" + by + project + "02" + key + key,
		"0402" + by + "0170" + "010178" + "0101012a" + "0100" + "0101" + "012ad00f80f0b2520001000671756f72756d" +
			"01" + "010000" + "01" + "0000" + "0000000000000000",
		"0402" + "00000000" + "0170" + "000000000000",
		"0502" + by + "0170",
		"0602" + by + key,
		"0702" + by + key + "0a",
		"0802" + by + "016b",
		"0902" + by + "01" + "8080808008",
		"0902" + "00000000" + "00",
		"0a02" + "02" + "016b02" + "017404",
		"0b02" + by + "0174" + "016e" + "06766965776572" + hash + "020406" + "0170",
		"0c02" + by + "0174",
		"0d02" + by + "0170" + "0163",
		"0e02" + by + "0173",
		"0f02" + by + "0161" + "0174",
		"0203" + by + "0163" + "0165" + "01" + strings.Repeat("00", 31) + "0173" + project + "02" + key + key + "0001",
		"0603" + by + key + "01",
		"0403" + by + "0170" + "000000000000" + "ac02",
		"0404" + by + "0170" + "0000000000" + "01" + "02044008000000000000" + "08" + "00",
		"0404" + by + "0170" + "0000000000" + "01" + "00000000000000000000" + "08" + "01" + "ac02",
		"1002" + by + "0170" + "02" + "0161" + "0162",
		"1102" + "02" + "0170" + "01020304ac02" + "0171" + "0000000000",
		"0405" + by + "0170" + "00000001" + "02" + defaults + defaults + "0000" + "e807a09c01801001" + "00" + "01ac02",
		"0405" + by + "0170" + "00000001" + "01" + defaults + "010000" + "0100000000000000000000" + "00" +
			"010161" + "0201620163" + "0e" + "08" + "00",
	} {
		if got := hex.EncodeToString(samples[i].Encode()); got != want {
			t.Errorf("%T is\n%s, was\n%s", samples[i], got, want)
		}
	}
	publish := Publish{Channel: ChannelKey{"p1", "a"}, ID: "id", Data: []byte("1234")}.Encode()
	if got, want := hex.EncodeToString(publish), "0101"+"027031"+"0161"+"026964"+"0431323334"; got != want {
		t.Errorf("Publish is\n%s, was\n%s", got, want)
	}
}

func TestUnknownCommandsAreErrors(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, {0, 1}, {99, 1}, {byte(opRevokeKey), 1, 0}, {byte(opPublish), 2}} {
		if _, ok, _ := decodePublish(b, new(senderCheck)); ok {
			t.Errorf("% x is a publish", b)
		}
		if _, c, err := decodeCommand(b); err == nil {
			t.Errorf("% x is %T", b, c)
		}
	}
}

func TestTruncatedCommandsAreErrors(t *testing.T) {
	for _, c := range sampleCommands() {
		whole := c.Encode()
		for n := range whole {
			if _, _, err := decodeCommand(whole[:n]); err == nil {
				t.Errorf("%T: the first %d of %d bytes are a command", c, n, len(whole))
			}
		}
		if _, _, err := decodeCommand(append(whole, 0)); err == nil {
			t.Errorf("%T: a byte too many goes unseen", c)
		}
	}
	whole := Publish{Channel: news, ID: "id", Data: []byte("1234")}.Encode()
	for n := 2; n < len(whole); n++ {
		if _, _, err := decodePublish(whole[:n], new(senderCheck)); err == nil {
			t.Errorf("the first %d of %d bytes are a publish", n, len(whole))
		}
	}
}

func TestPublishAppendsInPlace(t *testing.T) {
	p := Publish{Channel: news, ID: "id", Data: make([]byte, 100), From: sampleSender}
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { p.Append(buf) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	command := p.Append(buf)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = decodePublish(command, new(senderCheck)) }); n != 0 {
		t.Errorf("decoding: %v allocations", n)
	}
}

func FuzzCommand(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(c.Encode())
	}
	f.Add(Publish{Channel: news, ID: "id", Data: []byte("1")}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok, err := decodePublish(b, new(senderCheck)); ok && err == nil {
			again := Publish{
				Channel: ChannelKey{string(p.project), string(p.channel)}, ID: string(p.id), Data: p.data,
				From: p.from.whole(),
			}.Encode()
			if q, _, err := decodePublish(again, new(senderCheck)); err != nil || !reflect.DeepEqual(p, q) &&
				p.sum == sumMessage(p.data) {
				t.Errorf("%+v came back as %+v, %v", p, q, err)
			}
			return
		}
		_, c, err := decodeCommand(b)
		if err != nil {
			return
		}
		encoded := c.(control).Encode() // Bytes, for NaN is not equal to itself
		_, again, err := decodeCommand(encoded)
		if err != nil || !bytes.Equal(encoded, again.(control).Encode()) {
			t.Errorf("%+v came back as %+v, %v", c, again, err)
		}
	})
}

// whole is the Sender that was decoded.
func (s sender) whole() Sender {
	return Sender{Kind: s.kind, ID: string(s.id), Until: s.until, Subject: s.subject, Since: s.since}
}

func TestSendersComeBack(t *testing.T) {
	for _, want := range []Sender{
		{Kind: NodeSender},
		{Kind: KeySender, ID: "k", Since: 5},
		{Kind: AdminSender, ID: "adm", Since: 5},
		sampleSender,
	} {
		command := RevokeKey{sampleActor, "k"}.Encode()
		from, got, err := decodeCommand(want.Send(command))
		if err != nil || from.whole() != want || !reflect.DeepEqual(got, &RevokeKey{sampleActor, "k"}) {
			t.Errorf("%+v came back as %+v with %+v, %v", want, from.whole(), got, err)
		}
		if level := LevelOf(want.Send(command)); level != 2 || LevelOf(command) != 1 {
			t.Errorf("with a sender it is of level %d, without of %d", level, LevelOf(command))
		}
		p, ok, err := decodePublish(Publish{Channel: news, ID: "id", Data: []byte("1"), From: want}.Encode(),
			new(senderCheck))
		if err != nil || !ok || p.from.whole() != want || string(p.data) != "1" || p.sum != sumMessage([]byte("1")) {
			t.Errorf("publish of %+v came back as %+v, %v", want, p, err)
		}
	}
	key := Sender{Kind: KeySender, ID: "k", Since: 3}
	for want, got := range map[string][]byte{
		"0882" + "02016b06" + "0174016e01610176" +
			"016b": key.Send(RevokeKey{sampleActor, "k"}.Encode()),
		"0882" + "03016b0a12" + "0000000000000007" + "0174016e01610176" +
			"016b": sampleSender.Send(RevokeKey{sampleActor, "k"}.Encode()),
		"0182" + "02016b06" + "027031" + "046e657773" + "00" +
			"0131": Publish{Channel: news, Data: []byte("1"), From: key}.Encode(),
		"0182" + "02016b06" + "027031" + "046e657773" + "0161" + "0131" +
			"6b86b273ff34fce1": Publish{Channel: news, ID: "a", Data: []byte("1"), From: key}.Encode(),
	} {
		if got := hex.EncodeToString(got); got != want {
			t.Errorf("is  %s\nwas %s", got, want)
		}
	}
	whole := Publish{Channel: news, ID: "a", Data: []byte("1"), From: sampleSender}.Encode()
	for n := 2; n < len(whole); n++ {
		if _, _, err := decodePublish(whole[:n], new(senderCheck)); err == nil {
			t.Errorf("the first %d of %d bytes are a publish", n, len(whole))
		}
	}
	if _, _, err := decodeCommand([]byte{byte(opNote), controlVersion | sentBit, 99, 0, 0}); err == nil {
		t.Error("an unknown kind of sender goes unseen")
	}
}

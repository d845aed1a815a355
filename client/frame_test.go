package client

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestFramesOfTheClient(t *testing.T) {
	now := time.UnixMilli(1764000000000)
	for _, test := range []struct {
		got  []byte
		want string
	}{
		{encodeAuth("sk_1", "", now), `{"type":"auth","apiKey":"sk_1","timestamp":1764000000000` + announced + `}`},
		{encodeAuth("sk_1", "c1", now), `{"type":"auth","apiKey":"sk_1","timestamp":1764000000000` + announced +
			`,"replaces":"c1"}`},
		{encodeSubscribe("a", After(3), "", true), `{"type":"subscribe","channel":"a","fromOffset":3,"strict":true}`},
		{encodeHeartbeat(now), `{"type":"heartbeat","timestamp":1764000000000}`},
		{encodeSubscribe("a", Position{}, "", false), `{"type":"subscribe","channel":"a"}`},
		{encodeSubscribe("a", Live(), "", false), `{"type":"subscribe","channel":"a","from":"live"}`},
		{encodeSubscribe("a", After(0), "", false), `{"type":"subscribe","channel":"a","from":"all"}`},
		{encodeSubscribe("a", After(0), "e", false), `{"type":"subscribe","channel":"a","fromOffset":0,"epoch":"e"}`},
		{encodeSubscribe("a", Last(5), "", false), `{"type":"subscribe","channel":"a","from":{"last":5}}`},
		{encodeSubscribe("a", Since(now), "", false), `{"type":"subscribe","channel":"a","from":{"time":1764000000000}}`},
		{
			encodeSubscribe("ä\"\x01", After(42), "e", false),
			`{"type":"subscribe","channel":"ä\"\u0001","fromOffset":42,"epoch":"e"}`,
		},
		{encodeUnsubscribe("a"), `{"type":"unsubscribe","channel":"a"}`},
		{
			encodePublish("a", `i"`, []byte(`{"x":"<b>"}`)),
			`{"type":"publish","channel":"a","id":"i\"","message":{"x":"<b>"}}`,
		},
		{encodePublish("a b", "1", []byte(`null`)), `{"type":"publish","channel":"a b","id":"1","message":null}`},
		{
			encodePublish(`\`, "1", []byte(`12345678901234567890`)),
			`{"type":"publish","channel":"\\","id":"1","message":12345678901234567890}`,
		},
	} {
		if string(test.got) != test.want {
			t.Errorf("got  %s\nwant %s", test.got, test.want)
		}
	}
}

func TestDecodeFrameRefusesWhatIsNone(t *testing.T) {
	for _, text := range []string{
		``, `null`, `[]`, `{}`, `{"type":1}`, `{"type":"error","error":{}}`,
		`{"type":"message","offset":"1"}`, `{"type":"message","offset":-1}`,
	} {
		if f, err := decodeFrame([]byte(text)); err == nil {
			t.Errorf("%s was taken for %+v", text, f)
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add([]byte(`{"type":"message","channel":"a","data":{"x":[1]},"offset":1,"timestamp":2,"replay":true}`))
	f.Add([]byte(`{"type":"error","error":"no","code":"forbidden","id":"1","retryAfter":5}`))
	f.Add([]byte(`{"type":"gap","channel":"a","from":1,"to":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decodeFrame(text)
		if err != nil {
			return
		}
		if got.Data != nil && !json.Valid(got.Data) {
			t.Fatalf("data %q is not JSON", got.Data)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		same, err := decodeFrame(again)
		if err != nil {
			t.Fatal(err)
		}
		got.Data, same.Data = nil, nil // spelled differently
		if !reflect.DeepEqual(got, same) {
			t.Fatalf("%+v became %+v", got, same)
		}
	})
}

func FuzzQuote(f *testing.F) {
	f.Add("plain")
	f.Add("q\"\\\x00é\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var back, want string
		if err := json.Unmarshal(quote(s), &back); err != nil {
			t.Fatalf("%q: %v", quote(s), err)
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(encoded, &want); err != nil || back != want {
			t.Fatalf("%q came back as %q, want %q", s, back, want)
		}
	})
}

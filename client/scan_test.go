package client

import (
	"reflect"
	"testing"
)

var usualFrames = []string{
	`{"type":"message","channel":"a","data":{"x":[1,"]}\\\""]},"offset":1,"timestamp":1764000000000,"replay":true}`,
	`{"type":"message","channel":"a b/c","data":"text","offset":9007199254740991,"timestamp":0,"replay":false}`,
	`{"type":"message","channel":"a","data":[],"offset":10,"timestamp":5}`,
	`{"type":"published","channel":"a","offset":42,"timestamp":1,"id":"k-1","duplicate":true}`,
	`{"type":"heartbeat"}`,
	`{"type":"message","data":5}`,
	`{"type":"message","data":null}`,
	`{"type":"message","channel":"\u0041"}`,
	`{"type":"message","channel":"ä"}`,
	`{"type": "message"}`,
	`{"type":"message","offset":12345678901234567890}`,
}

var unusualFrames = []string{
	`{"type":"message","channel":"\ud800"}`,
	"{\"type\":\"message\",\"channel\":\"\xff\"}",
	`{"type":"message","type":"heartbeat"}`,
	`{"type":"message","channel":null}`,
	`{"type":"message","offset":12345678901234567890123}`,
	`{"type":"message","offset":01}`,
	`{"type":"message","offset":1e3}`,
	`{"type":"message","offset":-1}`,
	`{"type":"message","data":{"x":]}}`,
	`{"type":"message","data":{"x":1}`,
	`{"type":"message"}}`,
	`{"type":"message",}`,
	`{"TYPE":"message"}`,
	`{"type":"error","error":"x"}`,
	`{"channel":"a"}`,
	`{}`,
	``,
}

func TestScanFrame(t *testing.T) {
	for _, text := range usualFrames {
		if _, ok := scanFrame([]byte(text)); !ok {
			t.Errorf("%s was left to encoding/json", text)
		}
	}
	for _, text := range unusualFrames {
		if f, ok := scanFrame([]byte(text)); ok {
			t.Errorf("%s was taken for %+v", text, f)
		}
	}
}

func TestDecodedFrameKeepsNothingOfTheText(t *testing.T) {
	text := []byte(usualFrames[0])
	f, err := decodeFrame(text)
	if err != nil {
		t.Fatal(err)
	}
	want := string(f.Data)
	clear(text)
	if f.Channel != "a" || string(f.Data) != want {
		t.Errorf("the frame changed with its text: %+v", f)
	}
}

// FuzzScanFrame compares with encoding/json: what is scanned must be a frame,
// and the same one.
func FuzzScanFrame(f *testing.F) {
	for _, text := range append(usualFrames, unusualFrames...) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := scanFrame(text)
		if !ok {
			return
		}
		want, err := unmarshalFrame(text)
		if err != nil {
			t.Fatalf("%q was taken for %+v, but: %v", text, got, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q was taken for %+v, want %+v", text, got, want)
		}
	})
}

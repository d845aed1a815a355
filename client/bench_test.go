package client

import (
	"encoding/json"
	"testing"
)

func BenchmarkDecodeMessage(b *testing.B) {
	text := []byte(`{"type":"message","channel":"bench:00c0ffee:1","data":"00c0ffee.0001.000000000001.0000000000000001.` +
		`xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","offset":123456,` +
		`"timestamp":1764000000000,"replay":false}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeFrame(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodePublish(b *testing.B) {
	payload := json.RawMessage(`"00c0ffee.0001.000000000001.0000000000000001.` +
		`xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		text := encodePublish("bench:00c0ffee:1", "KJHGFDSAKJHGFDSAKJHGFDSA-1a2b", payload)
		out = appendFrame(out[:0], 1, text)
	}
}

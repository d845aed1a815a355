package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestPayloadKeepsItsSize(t *testing.T) {
	for _, p := range []payload{
		{},
		{run: math.MaxUint32, publisher: math.MaxUint16, sequence: 1<<48 - 1, sent: math.MaxInt64},
		{run: 1, publisher: 2, sequence: 3, sent: 4 * time.Second},
	} {
		for _, size := range []int{MinSize, MinSize + 1, 128, 4096} {
			text := p.encode(size)
			if len(text) != size || !json.Valid(text) {
				t.Errorf("%d bytes instead of %d: %s", len(text), size, text)
			}
			if got, err := decodePayload(text); err != nil || got != p {
				t.Errorf("%+v came back as %+v, %v", p, got, err)
			}
		}
	}
}

func FuzzDecodePayload(f *testing.F) {
	f.Add(payload{run: 1, publisher: 2, sequence: 3, sent: 4}.encode(64))
	f.Add([]byte(`"00000001.0002.000000000003.0000000000000004."`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := decodePayload(text)
		if err != nil {
			return
		}
		if again := p.encode(len(text)); !bytes.EqualFold(again, text) {
			t.Fatalf("%s was read as %s", text, again)
		}
	})
}

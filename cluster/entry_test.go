package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"github.com/aptlyd/aptlyd/cluster/compress"
	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/internal/wire"
)

// anyBatch draws a batch that a forwarder could make.
func anyBatch(t *rapid.T) batch {
	b := batch{seq: rapid.Uint64Min(1).Draw(t, "seq")}
	copy(b.session[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "session"))
	b.acked = rapid.Uint64Range(0, b.seq-1).Draw(t, "acked")
	b.commands = rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 1, 5).Draw(t, "commands")
	return b
}

// encodeAnyBatch encodes a batch in one of its two forms.
func encodeAnyBatch(t *rapid.T, b batch) []byte {
	if rapid.Bool().Draw(t, "compressed") {
		return compressBatch(b)
	}
	return encodeBatch(b)
}

// compressBatch encodes a batch with its commands in a block, whether that makes it smaller or
// not.
func compressBatch(b batch) []byte {
	raw := encodeBatch(b)
	r := wire.Reader{Rest: raw}
	r.Fixed(16)
	r.Uvarint()
	r.Uvarint()
	head := raw[:len(raw)-len(r.Rest)]
	return wire.AppendBytes(append(bytes.Clone(head), 0), s2.Encode(nil, r.Rest))
}

// A batch that is worth it is compressed where all members understand that, and is the same
// batch to those who read it.
func TestBatchesAreCompressed(t *testing.T) {
	b := batch{session: Session{1}, seq: 3, acked: 1}
	for i := range 100 {
		b.commands = append(b.commands, fmt.Appendf(nil, `{"user":%d,"text":"hello, how are you?"}`, i))
	}
	var counts compress.Counts
	understood := false
	e := batchEncoder{compressor: compress.New(&counts), understood: func() bool { return understood }}
	if !bytes.Equal(e.encode(b), encodeBatch(b)) {
		t.Error("a batch is compressed that not all members would understand")
	}
	understood = true
	once := counts.Given.Load()
	small := e.encode(b)
	given, left := counts.Given.Load()-once, counts.Left.Load()-once
	if plain := len(encodeBatch(b)); len(small) > plain/3 || given != once || left == 0 || left > given/3 {
		t.Errorf("%d bytes are %d, counted as %d and %d", plain, len(small), given, left)
	}
	if got, err := decodeBatch(small); err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("it is read as %v (%v)", got, err)
	}
	b.commands = b.commands[:1]
	if !bytes.Equal(e.encode(b), encodeBatch(b)) {
		t.Error("a batch of one short command is compressed")
	}
}

// A block that claims to hold more than a batch may, or holds no batch, is refused for that.
func TestCompressedBatchesAreBounded(t *testing.T) {
	head := encodeBatch(batch{seq: 1, commands: [][]byte{nil}})[:18] // up to the number of commands
	with := func(block []byte) []byte { return wire.AppendBytes(append(bytes.Clone(head), 0), block) }
	if _, _, err := checkBatch(with(s2.Encode(nil, []byte{1, 1, 'x'})), anyCommand); err != nil {
		t.Fatal(err)
	}
	huge := s2.Encode(nil, append([]byte{1}, wire.AppendBytes(nil, make([]byte, maxBatchBytes))...))
	for name, block := range map[string][]byte{
		"too much":       huge,
		"a claim":        binary.AppendUvarint(nil, maxBatchBytes+1),
		"no block":       {},
		"nothing":        s2.Encode(nil, nil),
		"no command":     s2.Encode(nil, []byte{0}),
		"a block within": s2.Encode(nil, append([]byte{0}, wire.AppendBytes(nil, s2.Encode(nil, []byte{1, 1, 'x'}))...)),
		"a rest":         s2.Encode(nil, []byte{1, 1, 'x', 'y'}),
		"half a command": s2.Encode(nil, []byte{1, 2, 'x'}),
		"half a block":   s2.Encode(nil, []byte{1, 1, 'x'})[:2],
	} {
		if _, _, err := checkBatch(with(block), anyCommand); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := decodeEntry(encodeEntry(1, [][]byte{with(block)})); err == nil {
			t.Errorf("%s is read from the log", name)
		}
	}
}

func TestEntryKeepsWhatItCarries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := entry{stamp: rapid.Int64().Draw(t, "stamp")}
		var raws [][]byte
		for range rapid.IntRange(0, 4).Draw(t, "batches") {
			b := anyBatch(t)
			want.batches = append(want.batches, b)
			raws = append(raws, encodeAnyBatch(t, b))
		}
		raw := encodeEntry(want.stamp, raws)
		got, err := decodeEntry(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		for cut := range raw {
			if _, err := decodeEntry(raw[:cut]); err == nil {
				t.Fatalf("an entry cut at %d of %d was taken", cut, len(raw))
			}
		}
	})
}

func TestEntryRefusesAnotherVersion(t *testing.T) {
	raw := encodeEntry(1, nil)
	raw[0]++
	if _, err := decodeEntry(raw); err == nil {
		t.Error("an entry of another version was taken")
	}
}

func TestOutcomeKeepsWhatItCarries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := outcome{index: rapid.Uint64().Draw(t, "index"), next: rapid.Uint64().Draw(t, "next")}
		if n := rapid.IntRange(0, 4).Draw(t, "results"); n > 0 {
			want.results = rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), n, n).Draw(t, "result")
		}
		raw := encodeOutcome(want)
		got, err := decodeOutcome(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// TestTruncatedBytesAreErrors: what arrives short, in the log or from a peer, is never
// taken for less.
func TestTruncatedBytesAreErrors(t *testing.T) {
	b := batch{session: Session{1}, seq: 300, acked: 2, commands: [][]byte{[]byte("a"), nil, make([]byte, 200)}}
	for _, test := range []struct {
		name   string
		whole  []byte
		decode func([]byte) error
	}{
		{
			"entry", encodeEntry(1764000000000, [][]byte{encodeBatch(b), encodeBatch(b)}),
			func(raw []byte) error { _, err := decodeEntry(raw); return err },
		},
		{"batch", encodeBatch(b), func(raw []byte) error { _, _, err := checkBatch(raw, anyCommand); return err }},
		{"compressed batch", compressBatch(b), func(raw []byte) error {
			_, _, err := checkBatch(raw, anyCommand)
			return err
		}},
		{
			"outcome", encodeOutcome(outcome{index: 300, next: 2, results: [][]byte{[]byte("a"), nil}}),
			func(raw []byte) error { _, err := decodeOutcome(raw); return err },
		},
		{
			"hello", peer.Hello{Purpose: peer.PurposeRaft}.Encode(),
			func(raw []byte) error { _, err := peer.DecodeHello(raw); return err },
		},
		{
			"answer to hello", peer.HelloAck{}.Encode(),
			func(raw []byte) error { _, err := peer.DecodeHelloAck(raw); return err },
		},
		{
			"frame",
			[]byte{0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 4, 'x'},
			func(raw []byte) error { _, err := peer.ReadFrame(bytes.NewReader(raw)); return err },
		},
	} {
		if err := test.decode(test.whole); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for n := range test.whole {
			if test.decode(test.whole[:n]) == nil {
				t.Errorf("%s: the first %d of %d bytes are one", test.name, n, len(test.whole))
			}
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	b := batch{session: Session{1}, seq: 3, acked: 2, commands: [][]byte{[]byte("a"), nil}}
	f.Add(encodeEntry(0, nil))
	f.Add(encodeEntry(1764000000000, [][]byte{encodeBatch(b), compressBatch(b)}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decodeEntry(raw)
		if err != nil {
			return
		}
		// What is taken has one meaning: encoding it again and decoding that gives
		// the same entry.
		var raws [][]byte
		for _, b := range e.batches {
			raws = append(raws, encodeBatch(b))
		}
		again, err := decodeEntry(encodeEntry(e.stamp, raws))
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v became %+v (%v)", e, again, err)
		}
	})
}

// decodeBatch reads the bytes of exactly one batch.
func decodeBatch(raw []byte) (batch, error) {
	r := wire.Reader{Rest: raw}
	b := readBatch(&r)
	return b, r.Finish()
}

// What the leader takes from a forwarder every node must be able to read.
func FuzzCheckBatch(f *testing.F) {
	b := batch{seq: 300, acked: 5, commands: [][]byte{make([]byte, 200), {}, []byte("x")}}
	f.Add(encodeBatch(b))
	f.Add(compressBatch(b))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := decodeBatch(raw)
		_, entryErr := decodeEntry(encodeEntry(1, [][]byte{raw}))
		if _, _, checked := checkBatch(raw, anyCommand); (checked == nil) != (err == nil) ||
			(checked == nil) != (entryErr == nil) {
			t.Errorf("check: %v, batch: %v, entry: %v", checked, err, entryErr)
		}
	})
}

func FuzzDecodeOutcome(f *testing.F) {
	f.Add(encodeOutcome(outcome{index: 7, next: 2, results: [][]byte{[]byte("a")}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := decodeOutcome(raw)
		if err != nil {
			return
		}
		if again, err := decodeOutcome(encodeOutcome(o)); err != nil || !reflect.DeepEqual(o, again) {
			t.Fatalf("%+v became %+v (%v)", o, again, err)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 4, 'x'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		for {
			before := r.Len()
			fr, err := peer.ReadFrame(r)
			if err != nil {
				return
			}
			if used := before - r.Len(); used != peer.FrameHeadBytes+len(fr.Payload) {
				t.Fatalf("a frame with %d bytes of payload took %d bytes", len(fr.Payload), used)
			}
		}
	})
}

func FuzzDecodeHello(f *testing.F) {
	f.Add(peer.Hello{Purpose: peer.PurposeRaft}.Encode())
	f.Add(peer.HelloAck{Code: 7}.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if h, err := peer.DecodeHello(raw); err == nil && !bytes.Equal(h.Encode(), raw) {
			t.Fatalf("%x is taken as %+v", raw, h)
		}
		if a, err := peer.DecodeHelloAck(raw); err == nil && !bytes.Equal(a.Encode(), raw) {
			t.Fatalf("%x is taken as %+v", raw, a)
		}
	})
}

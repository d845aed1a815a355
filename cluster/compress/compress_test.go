package compress

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/s2"
)

func random(n int) []byte {
	r, b := rand.New(rand.NewPCG(1, uint64(n))), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestCompressGivesBackWhatItTook(t *testing.T) {
	var counts Counts
	c := New(&counts)
	given, left := 0, 0
	for n := 0; n < 5<<20; n = 3*n + 1 {
		raw := append(bytes.Repeat([]byte("some text, "), n/11), random(n%11)...)
		block, ok := c.Compress(raw)
		given += len(raw)
		if !ok {
			if left += len(raw); n >= minBytes {
				t.Errorf("%d bytes of text were left as they are", n)
			}
			continue
		}
		left += len(block)
		if got, err := Decompress(nil, block, len(raw)); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%d bytes became %d (%v)", len(raw), len(got), err)
		}
		if _, err := Decompress(nil, block, len(raw)-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("one byte more than is allowed: %v", err)
		}
	}
	if counts.Given.Load() != uint64(given) || counts.Left.Load() != uint64(left) || cap(c.scratch) > maxScratch {
		t.Errorf("counted %d and %d, want %d and %d; %d bytes are kept",
			counts.Given.Load(), counts.Left.Load(), given, left, cap(c.scratch))
	}
}

// Bytes without a pattern are tried more and more seldom, and as soon as one has a pattern every
// time.
func TestCompressLearnsToLeaveAlone(t *testing.T) {
	c := New(new(Counts))
	noise, text := random(minBytes), bytes.Repeat([]byte("text"), minBytes)
	tried := 0
	for range 1000 {
		if _, ok := c.Compress(noise); ok {
			t.Fatal("noise became smaller")
		}
		if c.passing == c.pause {
			tried++
		}
	}
	if tried < 10 || tried > 30 {
		t.Errorf("of 1,000 %d were tried", tried)
	}
	became := 0
	for range maxPassed + 100 {
		if _, ok := c.Compress(text); ok {
			became++
		}
	}
	if became < 100 {
		t.Errorf("then %d of %d were compressed", became, maxPassed+100)
	}
}

// FuzzDecompress: a block may come from a peer. Whatever it is, it takes no more than allowed.
func FuzzDecompress(f *testing.F) {
	f.Add(s2.Encode(nil, []byte("some text, some text")), 20)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, 1<<20)
	f.Fuzz(func(t *testing.T, block []byte, limit int) {
		limit &= 1<<20 - 1
		raw, err := Decompress(nil, block, limit)
		if err == nil && len(raw) > limit {
			t.Fatalf("%d bytes, and %d are allowed", len(raw), limit)
		}
		if err != nil {
			return
		}
		if again, err := Decompress(nil, s2.Encode(nil, raw), limit); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%d bytes became %d (%v)", len(raw), len(again), err)
		}
	})
}

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

func TestReaderReadsBackWhatWasAppended(t *testing.T) {
	numbers := []uint64{0, 1, 0x7f, 0x80, 0x3fff, 0x4000, math.MaxUint32, math.MaxUint64}
	var b []byte
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
		b = binary.AppendVarint(b, int64(n))
	}
	b = AppendBool(AppendBool(AppendBytes(AppendBytes(b, "text"), []byte{}), true), false)
	b = binary.BigEndian.AppendUint64(b, 7)
	r := Reader{Rest: b}
	for _, n := range numbers {
		if u, v := r.Uvarint(), r.Varint(); u != n || v != int64(n) {
			t.Errorf("read %d and %d, want %d and %d", u, v, n, int64(n))
		}
	}
	if s, empty := r.Bytes(), r.Bytes(); string(s) != "text" || len(empty) != 0 {
		t.Errorf("read %q and %q", s, empty)
	}
	if !r.Bool() || r.Bool() || r.Uint64() != 7 {
		t.Error("a boolean or a fixed number reads otherwise than it was written")
	}
	if err := r.Finish(); err != nil {
		t.Error(err)
	}
}

func TestReaderKeepsTheFirstError(t *testing.T) {
	reads := map[string]func(*Reader){
		"Uvarint": func(r *Reader) { r.Uvarint() },
		"Varint":  func(r *Reader) { r.Varint() },
		"Count":   func(r *Reader) { r.Count() },
		"Bytes":   func(r *Reader) { r.Bytes() },
		"Byte":    func(r *Reader) { r.Byte() },
		"Bool":    func(r *Reader) { r.Bool() },
		"Uint64":  func(r *Reader) { r.Uint64() },
	}
	for name, read := range reads {
		for _, input := range [][]byte{{}, {0x80}, bytes.Repeat([]byte{0x80}, 11)} {
			r := Reader{Rest: input}
			if read(&r); name == "Byte" || name == "Bool" || name == "Uint64" {
				r.Fixed(math.MaxUint64)
			}
			first := r.Finish()
			read(&r)
			if first == nil || !errors.Is(r.Finish(), first) || r.Rest != nil {
				t.Errorf("%s of %x: %v, then %v", name, input, first, r.Finish())
			}
		}
	}
	if r := (Reader{Rest: []byte{0, 0}}); r.Byte() != 0 || r.Finish() == nil {
		t.Error("a byte that is left over is not reported")
	}
	if r := (Reader{Rest: []byte{200, 1, 0}}); r.Count() != 0 || !errors.Is(r.Err, ErrTruncated) {
		t.Error("a count beyond the input is taken")
	}
}

func FuzzUvarint(f *testing.F) {
	f.Add([]byte{0x80, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Reader{Rest: b}
		got := r.Uvarint()
		want, n := binary.Uvarint(b)
		if n <= 0 {
			if !errors.Is(r.Err, ErrTruncated) {
				t.Errorf("%x: read %d, %v", b, got, r.Err)
			}
		} else if got != want || len(r.Rest) != len(b)-n {
			t.Errorf("%x: read %d with %d left, want %d with %d", b, got, len(r.Rest), want, len(b)-n)
		}
	})
}

package fsm

import (
	"errors"
	"strings"
	"testing"
)

func TestResultsComeBack(t *testing.T) {
	want := Receipt{1 << 52, start, true}
	if got, err := DecodeReceipt(appendReceipt(nil, want)); err != nil || got != want {
		t.Errorf("receipt %+v, %v, want %+v", got, err, want)
	}
	if err := DecodeResult([]byte{codeOK}); err != nil {
		t.Error(err)
	}
	for code, want := range sentinels {
		if want == nil {
			continue
		}
		result := appendRefusal(nil, refuse(byte(code), "key %q", "k"))
		_, err := DecodeReceipt(result)
		for _, err := range []error{err, DecodeResult(result)} {
			if !errors.Is(err, want) || !strings.Contains(err.Error(), `key "k"`) {
				t.Errorf("refusal %v, want %v", err, want)
			}
		}
	}
}

func TestTruncatedResultsAreErrors(t *testing.T) {
	for _, whole := range [][]byte{
		appendReceipt(nil, Receipt{300, start, false}),
		appendRefusal(nil, refuse(codeConflict, "key")),
	} {
		for n := range whole {
			if r, err := DecodeReceipt(whole[:n]); err == nil {
				t.Errorf("the first %d bytes of % x are %+v", n, whole, r)
			} else if n > 0 && errors.Is(err, ErrConflict) {
				t.Errorf("the first %d bytes of % x are a refusal", n, whole)
			}
		}
	}
	for _, b := range [][]byte{{200, 0}, {codeOK, 0, 1, 2, 3}} {
		if _, err := DecodeReceipt(b); err == nil {
			t.Errorf("% x is a receipt", b)
		}
	}
	if err := DecodeResult([]byte{codeOK, 0}); err == nil {
		t.Error("a byte too many goes unseen")
	}
}

func FuzzResult(f *testing.F) {
	f.Add(appendReceipt(nil, Receipt{1, start, true}))
	f.Add(appendRefusal(nil, refuse(codeInvalid, "x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeReceipt(b)
		if err != nil {
			return
		}
		if again, err := DecodeReceipt(appendReceipt(nil, r)); err != nil || again != r {
			t.Errorf("%+v came back as %+v, %v", r, again, err)
		}
		_ = DecodeResult(b)
	})
}
